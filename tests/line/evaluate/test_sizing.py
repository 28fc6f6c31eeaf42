"""What a set of items can decide, before anything is trained; and that it is so."""

import numpy as np
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.line.evaluate.paired import paired_gain
from tokenworks.line.evaluate.sizing import discordance_of, plan_items, safety_bound, safety_items


@pytest.mark.parametrize(("margin", "needed"), [(0.02, 1546), (0.03, 687), (0.05, 248)])
def test_the_plan_agrees_with_the_published_numbers(margin, needed):
    assert plan_items(margin=margin, discordant=0.1, have=0).needed == needed


def test_the_plan_says_what_too_few_items_can_decide():
    (line,) = plan_items(margin=0.02, accuracy=0.9, have=812).story()
    assert "1,546 items needed for a 2-point margin at 5%/80% with 10% discordant; you have 812" in line
    assert "can only decide a 2.8-point one" in line


def test_more_items_decide_less_and_a_second_chance_costs():
    plans = [plan_items(margin=0.02, discordant=0.1, have=n) for n in (10, 100, 1000, 10_000)]
    assert [p.decidable for p in plans] == sorted((p.decidable for p in plans), reverse=True)
    assert [p.enough for p in plans] == [False, False, False, True]
    assert plan_items(margin=0.02, discordant=0.1, have=100, chances=2).gain > plans[1].gain


def test_no_items_and_no_margin_are_told():
    assert "can decide nothing" in plan_items(margin=0.02, have=0).story()[0]
    with pytest.raises(ConfigError, match="with 0 no number of items"):
        plan_items(margin=0, have=10)


def test_no_failure_of_n_excludes_a_rate_below_three_over_n():
    assert all(safety_bound(n) < 3 / n for n in range(1, 2000))
    assert safety_bound(0) == 1
    assert safety_items(0.02) == 149
    assert safety_bound(149) <= 0.02 < safety_bound(148)


def pair(rng, n, discordant, gain):
    """Return a comparison of models that differ on `discordant` of the items and by `gain` overall."""
    shares = ((discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant)
    moved = rng.choice([1.0, -1.0, 0.0], n, p=shares)
    return paired_gain(moved, np.ones(n), np.arange(n), alpha=0.05)


@pytest.mark.parametrize("gain", [0.0, 0.03])
def test_the_planned_power_is_reached(gain):
    plan, rng = plan_items(margin=0.03, discordant=0.1, have=687), np.random.default_rng(1)
    pairs = [pair(rng, plan.needed, 0.1, gain) for _ in range(300)]
    shown = [one.superior if gain else one.low > -0.03 for one in pairs]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.07)  # 3 points and the noise of 300 draws
    assert discordance_of(pairs[0]) == pytest.approx(0.1, abs=0.04)
