"""Budgets of training: known splits, the laws' own limits, and what cannot be meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError
from tokenworks.core.scaling import BESIROGLU, loss
from tokenworks.planning.tables import read_tables
from tokenworks.planning.training import constrained, effort, optimal, served, tuning_flops


def test_chinchillas_budget_is_split_as_chinchilla_was():
    found = optimal(5.76e23)
    assert found.parameters == pytest.approx(7.2e10, rel=0.01)
    assert found.tokens / found.parameters == pytest.approx(18.4, abs=0.2)


@given(st.floats(1e17, 1e25), st.floats(0, 1e15))
def test_serving_more_asks_for_a_smaller_model_as_good_and_never_costs_more(flops, answers):
    free, found = optimal(flops), served(flops, answers)
    assert found.parameters <= free.parameters * 1.01
    assert loss(BESIROGLU, found.parameters, found.tokens) == pytest.approx(free.loss, rel=1e-6)
    assert found.flops <= (free.train_flops + 2 * free.parameters * answers) * 1.001


def test_without_serving_the_compute_optimal_split_is_the_cheapest_of_its_loss():
    assert served(1e21, 0).parameters == pytest.approx(optimal(1e21).parameters, rel=0.02)


def test_little_data_is_read_again_by_a_smaller_model():
    free, poor = constrained(1e20, 1e13), constrained(1e20, 1e9)
    assert free.epochs == 1.0
    assert poor.epochs > 4
    assert poor.loss > free.loss


def test_hours_and_rent_of_a_known_run():
    # 1e21 FLOP at 40 % of 989 TFLOP/s: 702 device-hours.
    found = effort(1e21, read_tables().machine("h100"), 8, 0.4)
    assert found.device_hours == pytest.approx(702, rel=0.01)
    assert found.hours == pytest.approx(87.8, rel=0.01)
    assert found.usd == pytest.approx(702 * 2.35, rel=0.01)


def test_an_adapter_takes_two_thirds_of_a_full_tuning():
    assert tuning_flops(8e9, 1e6, adapter=True) == pytest.approx(2 / 3 * tuning_flops(8e9, 1e6, adapter=False))


@pytest.mark.parametrize("flops", [0, -1, float("nan"), float("inf")])
def test_a_budget_that_is_none_is_refused(flops):
    with pytest.raises(ConfigError, match="above zero"):
        optimal(flops)


def test_negative_serving_and_no_devices_are_refused():
    with pytest.raises(ConfigError, match="--served -1"):
        served(1e20, -1)
    with pytest.raises(ConfigError, match="0 devices"):
        effort(1e20, read_tables().machine("h100"), 0, 0.4)
