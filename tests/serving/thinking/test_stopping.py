"""The rules for when a vote is over, against figures computed elsewhere and against their own definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from tokenworks.serving.thinking.stopping import incomplete_beta, leads, overtaken, settled, votes_needed

COUNT = st.integers(0, 40)


@pytest.mark.parametrize(("first", "second", "p"), [(4, 0, 0.969), (6, 1, 0.965), (8, 2, 0.967), (10, 3, 0.971)])
def test_the_beta_criterion_has_the_published_figures(first: int, second: int, p: float) -> None:
    assert leads(first, second) == pytest.approx(p, abs=5e-4)


@given(a=st.floats(0.5, 60), b=st.floats(0.5, 60), x=st.floats(0.001, 0.999))
def test_the_incomplete_beta_function_is_that_of_scipy(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-9)


@given(first=COUNT, second=COUNT, left=COUNT)
def test_the_chance_to_be_overtaken_is_the_tail_of_a_beta_binomial(first: int, second: int, left: int) -> None:
    votes = range(left + 1)
    tail = sum(stats.betabinom.pmf(y, left, second + 1, first + 1) for y in votes if second + y > first + (left - y))
    assert overtaken(first, second, left) == pytest.approx(float(tail), abs=1e-9)


@given(first=COUNT, second=COUNT, left=st.integers(1, 40), confidence=st.floats(0.6, 0.99))
def test_asking_for_the_votes_needed_at_once_costs_none_that_one_by_one_would_save(
    first: int, second: int, left: int, confidence: float
) -> None:
    first, second = max(first, second), min(first, second)
    needed = votes_needed(first, second, left, confidence)
    assert 1 <= needed <= left
    for drawn in range(1, needed):
        for to_first in range(drawn + 1):
            ahead, behind = first + to_first, second + drawn - to_first
            assert not settled(max(ahead, behind), min(ahead, behind), left - drawn, confidence)


def test_who_cannot_be_overtaken_has_won() -> None:
    assert overtaken(9, 0, 7) == 0.0
    assert settled(5, 2, 2, 0.999999)
