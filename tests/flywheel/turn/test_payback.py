"""What a turn cost and gives back: hand-computed, and what must hold whatever the figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.flywheel.turn.payback import DAY_S, Traffic, payback


def test_a_turn_that_saves_people_and_engines_pays_back_at_their_sum():
    # 2,000 answers in half a day: 4,000 a day. 5 points more right: 200 answers of 30 s. 2 ms saved: 8 s a day.
    traffic = Traffic(answers=2000, span_s=DAY_S / 2)
    found = payback(cost_s=3004.0, traffic=traffic, gain=0.05, latency_saved_s=0.002, correction_s=30.0)
    assert found.answers_per_day == 4000
    assert found.right_more_per_day == pytest.approx(200)
    assert found.person_saved_s_per_day == pytest.approx(6000)
    assert found.engine_saved_s_per_day == pytest.approx(8)
    assert found.days == pytest.approx(0.5)
    assert any("pays back in 0.50 days" in line for line in found.story())


def test_a_turn_that_gains_nothing_never_pays_back_and_says_so():
    traffic = Traffic(answers=100, span_s=DAY_S)
    found = payback(cost_s=10.0, traffic=traffic, gain=0.0, latency_saved_s=-0.001, correction_s=30.0)
    assert found.days is None
    assert found.story()[-1] == "  pays back never at this rate"


def test_no_rate_is_drawn_from_a_burst():
    assert Traffic(answers=500, span_s=10.0).per_day == 500


@given(gain=st.floats(-0.2, 0.2), latency=st.floats(-0.1, 0.1), answers=st.integers(0, 10**6), cost=st.floats(0.1, 1e6))
def test_days_times_daily_return_is_the_cost(gain, latency, answers, cost):
    found = payback(
        cost_s=cost, traffic=Traffic(answers=answers, span_s=DAY_S), gain=gain, latency_saved_s=latency, correction_s=30
    )
    daily = found.person_saved_s_per_day + found.engine_saved_s_per_day
    assert (found.days is None) == (daily <= 0 or math.isinf(cost / daily))
    if found.days is not None:
        assert found.days * daily == pytest.approx(cost, rel=1e-6)
