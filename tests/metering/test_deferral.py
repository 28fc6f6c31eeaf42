"""Deferred work begins at a better hour, and never after its time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.metering.deferral import HOUR_S, Deferral, at_once

NOW = 1_790_812_800.0
prices = st.lists(st.none() | st.floats(-10, 1000), min_size=1, max_size=60)


def by_hour(values, unknown=None):
    """Return the value of each hour from NOW on; of others: unknown."""

    def value(at: float) -> float | None:
        place = math.floor((at - NOW) / HOUR_S)
        return values[place] if 0 <= place < len(values) else unknown

    return value


def deferral(values, *, length_h=1.0, gain=0.05, look_s=60.0) -> Deferral:
    return Deferral(by_hour(values), name="price", length_s=length_h * HOUR_S, gain=gain, look_s=look_s)


def begun(policy: Deferral, *, asked_at: float, begin_by: float, every_s: float) -> float:
    """Ask again and again, as a running server does; return when it was let go."""
    now = asked_at
    while not policy(now, asked_at, begin_by).now:
        now += every_s
    return now


@given(prices, st.floats(0, 48 * HOUR_S), st.floats(0.1, 8), st.floats(0, 0.9), st.floats(1, 60), st.floats(0, HOUR_S))
def test_work_never_begins_after_its_time(values, within_s, length_h, gain, every_s, offset_s):
    policy = deferral(values, length_h=length_h, gain=gain)
    asked_at = NOW + offset_s
    every_s = max(every_s, within_s / 400)  # looks are rarer here than in a server where the span is long
    policy = Deferral(by_hour(values), name="price", length_s=length_h * HOUR_S, gain=gain, look_s=every_s)
    at = begun(policy, asked_at=asked_at, begin_by=asked_at + within_s, every_s=every_s)
    assert at <= asked_at + within_s


@given(st.lists(st.floats(0, 1000), min_size=26, max_size=60), st.integers(0, 23))
def test_where_every_hour_is_known_it_begins_in_a_best_one(values, within_h):
    policy = deferral(values, gain=0.0, look_s=0.0)
    at = begun(policy, asked_at=NOW, begin_by=NOW + within_h * HOUR_S + 1, every_s=HOUR_S)
    best = min(policy.mean(NOW + hour * HOUR_S) for hour in range(within_h + 1))
    assert policy.mean(at) == pytest.approx(best, abs=1e-9)


@given(prices)
def test_what_has_no_time_to_wait_begins_at_once(values):
    assert deferral(values)(NOW, NOW, NOW).now
    assert deferral(values)(NOW, NOW - 10, NOW - 1).now


def test_it_waits_for_the_night_and_says_why():
    start = deferral([30, 30, 20, 10, 30])(NOW, NOW, NOW + 4 * HOUR_S)
    assert (start.now, start.at) == (False, NOW + 3 * HOUR_S)
    assert start.reason == "the price falls from 30 to 10"


def test_long_work_looks_at_all_of_its_hours():
    assert deferral([20, 20, 5, 90, 90], length_h=2)(NOW, NOW, NOW + 3 * HOUR_S).at == NOW + HOUR_S
    assert deferral([20, 20, 5, 90, 90], length_h=3)(NOW, NOW, NOW + 2 * HOUR_S).now


def test_a_small_gain_is_not_waited_for():
    assert deferral([100, 96])(NOW, NOW, NOW + 2 * HOUR_S).now
    assert not deferral([100, 94])(NOW, NOW, NOW + 2 * HOUR_S).now


def test_an_hour_that_is_not_known_defers_nothing_and_is_not_chosen():
    assert deferral([None, 1])(NOW, NOW, NOW + 2 * HOUR_S).now
    assert deferral([30, None, 20])(NOW, NOW, NOW + 3 * HOUR_S).at == NOW + 2 * HOUR_S


def test_without_a_policy_everything_begins():
    assert at_once(NOW, NOW, NOW + 10 * HOUR_S).now


@pytest.mark.parametrize("wrong", [{"length_h": 0}, {"gain": 1.0}, {"look_s": -1.0}])
def test_a_policy_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match="length"):
        deferral([1], **wrong)
