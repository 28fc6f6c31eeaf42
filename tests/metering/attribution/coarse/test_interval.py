"""How the seconds of an interval are split, for whatever was in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.metering.attribution.coarse.counters import Moved
from tokenworks.metering.attribution.coarse.interval import Costs, Interval, Part, split

seconds = st.floats(0, 1e3)
tokens = st.floats(0, 1e6)
costs = st.builds(Costs, st.floats(0, 1e-2), st.floats(0, 1e-2))
parts = st.lists(st.builds(Part, seconds, tokens, tokens), min_size=1, max_size=12)


def an_interval(busy_s: float, moved: Moved = Moved(), costs: Costs = Costs()) -> Interval:  # noqa: B008  # frozen
    return Interval(0.0, max(busy_s, 1.0), moved, busy_s, 0.0, 100.0, costs=costs)


@given(seconds, st.builds(Moved, tokens, tokens, tokens, tokens), costs, parts)
def test_shares_add_up_to_the_busy_time_and_none_is_negative(
    busy_s: float, moved: Moved, costs: Costs, parts: list[Part]
) -> None:
    shares = split(an_interval(busy_s, moved, costs), parts)
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(busy_s, rel=1e-9, abs=1e-9)


def test_without_known_costs_all_is_floor_and_goes_by_presence() -> None:
    moved = Moved(1000, 1000, 50, 25)
    assert split(an_interval(0.9, moved), [Part(0.2, 900, 10), Part(0.4, 100, 40)]) == pytest.approx([0.3, 0.6])


def test_tokens_pay_what_they_cost_and_presence_the_rest() -> None:
    moved, costs = Moved(1000, 1000, 50, 25), Costs(2e-4, 2e-3)  # 0.2 s of prompts, 0.1 s of writing, 0.6 s of floor
    shares = split(an_interval(0.9, moved, costs), [Part(0.2, 1000, 0), Part(0.2, 0, 50)])
    assert shares == pytest.approx([0.3 + 0.2, 0.3 + 0.1])


def test_tokens_that_would_cost_more_than_there_was_are_scaled_and_leave_no_floor() -> None:
    moved, costs = Moved(1000, 1000, 0, 5), Costs(1e-2, 0.0)
    assert split(an_interval(1.0, moved, costs), [Part(1.0, 750, 0), Part(9.0, 250, 0)]) == pytest.approx([0.75, 0.25])


def test_claims_stand_for_what_was_counted() -> None:
    moved, costs = Moved(0, 0, 100, 50), Costs(0.0, 1e-3)
    shares = split(an_interval(0.1, moved, costs), [Part(0.0, 0, 30), Part(0.0, 0, 10)])  # the server says 100
    assert shares == pytest.approx([0.075, 0.025])
