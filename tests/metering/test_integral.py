"""Samples to joules: nothing lost, nothing invented, and a gap where it cannot be known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.metering.integral import Integral, Span, check
from tokenworks.metering.source import MeterError, Sample

RANGE_J = 262_143.328850


def spans(*readings: tuple[float, list[Sample]], most_w: float = 1000.0) -> list[Span]:
    integral = Integral(most_w=most_w)
    found = [integral.take(at_s, samples) for at_s, samples in readings]
    assert found[0] is None
    return [span for span in found[1:] if span is not None]


def counter(joules: float, zone: str = "package-0", range_j: float = 0.0) -> list[Sample]:
    return [Sample(zone, joules, range_j=range_j)]


def power(watts: float) -> list[Sample]:
    return [Sample("plug", watts, power=True)]


def test_a_counter_is_subtracted() -> None:
    assert [span.joules for span in spans((0, counter(5)), (1, counter(25)), (3, counter(26)))] == [20, 1]


def test_zones_are_added_up() -> None:
    before, after = counter(1) + counter(2, "dram"), counter(11) + counter(5, "dram")
    assert spans((0, before), (1, after))[0].joules == 13


def test_a_counter_that_begins_anew_goes_on() -> None:
    found = spans((0, counter(RANGE_J - 10, range_j=RANGE_J)), (1, counter(30, range_j=RANGE_J)))
    assert found[0].joules == pytest.approx(40)


def test_a_counter_that_may_have_begun_anew_twice_is_a_gap() -> None:
    found = spans((0, counter(10, range_j=RANGE_J)), (600, counter(30, range_j=RANGE_J)))
    assert found[0].joules is None
    assert "more than once" in found[0].because


def test_a_counter_that_jumps_back_is_a_gap_and_begins_anew() -> None:
    found = spans((0, counter(500)), (1, counter(3)), (2, counter(13)))
    assert [span.joules for span in found] == [None, 10]
    assert "jumped back from 500 J to 3 J" in found[0].because


def test_a_counter_that_jumps_ahead_is_a_gap() -> None:
    found = spans((0, counter(0)), (1, counter(1e6)), (2, counter(1e6 + 9)))
    assert [span.joules for span in found] == [None, 9]


def test_a_reset_of_a_counter_that_wraps_is_no_small_sum() -> None:
    found = spans((0, counter(200_000, range_j=RANGE_J)), (1, counter(1, range_j=RANGE_J)))
    assert found[0].joules is None  # 62 kJ in a second would be the way over the top


def test_a_zone_that_vanishes_is_a_gap_and_not_a_smaller_sum() -> None:
    found = spans((0, counter(1) + counter(1, "dram")), (1, counter(9)), (2, counter(10)))
    assert [span.joules for span in found] == [None, 1]
    assert found[0].because == "dram vanished"


def test_power_is_integrated_by_trapezoids() -> None:
    assert spans((0, power(100)), (1, power(200)), (3, power(200)))[0].joules == 150


def test_power_that_was_not_sampled_is_a_gap() -> None:
    assert spans((0, power(100)), (10, power(100)))[0].joules is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_no_meter_can_mean_is_refused(value: float) -> None:
    with pytest.raises(MeterError, match="no meter can mean"):
        check(counter(value))


def test_the_same_counter_twice_is_refused() -> None:
    with pytest.raises(MeterError, match="twice"):
        check(counter(1) + counter(2))


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 500)), min_size=1, max_size=40), st.floats(0, RANGE_J))
def test_whatever_the_course_of_a_wrapping_counter_its_spans_add_up(
    course: list[tuple[float, float]], start_j: float
) -> None:
    at_s, total_j = 0.0, start_j
    readings = [(at_s, counter(start_j % RANGE_J, range_j=RANGE_J))]
    for seconds, watts in course:
        at_s, total_j = at_s + seconds, total_j + seconds * watts
        readings.append((at_s, counter(total_j % RANGE_J, range_j=RANGE_J)))
    found = spans(*readings)
    assert sum(span.joules or 0.0 for span in found) == pytest.approx(total_j - start_j, rel=1e-6, abs=1e-3)
    assert found[0].began_s == 0
    assert found[-1].ended_s == at_s
