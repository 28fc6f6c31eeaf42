"""The rule by which a step is split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.metering.attribution.split import split

WORKS = st.lists(st.floats(0, 1e3), min_size=1, max_size=40)


def test_the_floor_is_shared_equally_and_work_is_ones_own() -> None:
    assert split(10.0, [1.0, 5.0]) == [3.0, 7.0]


def test_a_step_faster_than_its_works_has_no_floor() -> None:
    assert split(3.0, [2.0, 4.0]) == [1.0, 2.0]


def test_those_who_did_nothing_share_a_step_in_which_nobody_did() -> None:
    assert split(3.0, [0.0, 0.0, 0.0]) == [1.0, 1.0, 1.0]


@given(st.floats(0, 1e4), WORKS)
def test_shares_add_up_to_the_step(seconds: float, works_s: list[float]) -> None:
    shares = split(seconds, works_s)
    assert sum(shares) == pytest.approx(seconds, rel=1e-9, abs=1e-12)
    assert all(share >= 0 for share in shares)


@given(st.floats(0.01, 1e4), WORKS)
def test_who_did_more_never_pays_less(seconds: float, works_s: list[float]) -> None:
    shares = split(seconds, works_s)
    ordered = [share for _, share in sorted(zip(works_s, shares, strict=True))]
    assert all(one <= other * (1 + 1e-9) + 1e-12 for one, other in pairwise(ordered))


@pytest.mark.parametrize(("seconds", "works_s"), [(-1.0, [1.0]), (1.0, [1.0, -0.5])])
def test_negative_figures_are_refused(seconds: float, works_s: list[float]) -> None:
    with pytest.raises(ValueError, match="none may be negative"):
        split(seconds, works_s)
