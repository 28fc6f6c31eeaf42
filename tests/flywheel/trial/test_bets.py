"""Bets that cannot win where there is nothing to win: what the whole trial rests on."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.flywheel.trial.bets import PURSE, Wealth

rates = st.floats(0.002, 0.9)
sizes = st.integers(1, 4)


def expected(direction, gap, mine, theirs, sizes_, rate, variance):
    """Return the expected capital after one block of Bernoulli outcomes with rates `mine` and `theirs`."""
    m, k = sizes_
    total = 0.0
    for outcome in itertools.product((0.0, 1.0), repeat=m + k):
        chance = math.prod(mine if x else 1 - mine for x in outcome[:m])
        chance *= math.prod(theirs if x else 1 - theirs for x in outcome[m:])
        wealth = Wealth(direction=direction, gap=gap)
        wealth.bet(outcome[:m], outcome[m:], rate=rate, variance=variance)
        total += chance * sum(wealth.capital)
    return total


@settings(max_examples=60, deadline=None)
@given(theirs=rates, better=st.floats(0, 1), gap=st.sampled_from([0.0, 0.02, 0.05]), m=sizes, k=sizes,
       rate=rates, variance=st.floats(0, 0.25))  # fmt: skip
def test_betting_that_the_candidate_is_worse_never_pays_where_it_is_not(theirs, better, gap, m, k, rate, variance):
    mine = better * min(1.0, theirs + gap)
    assert expected("above", gap, mine, theirs, (m, k), rate, variance) <= 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(theirs=rates, worse=st.floats(0, 1), gap=st.sampled_from([0.0, 0.02, 0.05]), m=sizes, k=sizes,
       rate=rates, variance=st.floats(0, 0.25))  # fmt: skip
def test_betting_that_it_is_within_the_margin_never_pays_where_it_is_not(theirs, worse, gap, m, k, rate, variance):
    at_least = min(1.0, theirs + gap)
    mine = at_least + worse * (1 - at_least)
    if theirs + gap <= 1:
        assert expected("below", gap, mine, theirs, (m, k), rate, variance) <= 1 + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.lists(st.floats(0, 1), min_size=1, max_size=5), rates,
       st.sampled_from(["above", "below"]))  # fmt: skip
def test_nobody_goes_broke_by_one_block(mine, theirs, rate, direction):
    wealth = Wealth(direction=direction, gap=0.02)
    wealth.bet(mine, theirs, rate=rate, variance=0.1)
    assert all(one > 0 for one in wealth.capital)


def test_one_bet_by_hand():
    wealth = Wealth(direction="above", capital=[0.0, 1.0] + [0.0] * 9)
    wealth.bet([1.0], [0.0], rate=0.5, variance=0.25)
    stake = 0.9 * min(1 / 0.5, 1 / 0.5)
    assert sum(wealth.capital) == pytest.approx((1 + stake * 0.5) * (1 + stake * 0.5))


def test_worse_candidates_win_the_bet_sooner():
    def blocks(worse):
        rng, wealth = np.random.default_rng(0), Wealth(direction="above")
        for number in range(20_000):
            mine, theirs = float(rng.random() < 0.1 + worse), float(rng.random() < 0.1)
            wealth.bet([mine], [theirs], rate=0.1, variance=0.09)
            if wealth.proven(0.05):
                return number
        return math.inf

    needed = [blocks(worse) for worse in (0.05, 0.1, 0.2, 0.9)]
    assert needed == sorted(needed, reverse=True)
    assert needed[0] < 20_000


def test_the_purse_is_one():
    assert sum(PURSE) == pytest.approx(1.0)
