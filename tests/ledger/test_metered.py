"""Entries of the meter as stretches of time: parts add up to the whole, and what cannot be meant is found out."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.ledger.entries import EnergyEntry
from tokenworks.ledger.metered import began_at, is_sound, within
from tokenworks.ledger.views import stats, sum_up
from tokenworks.ledger.writer import Ledger

PARTS = ("seconds", "metered_j", "requests_j", "idle_j", "other_j", "untold_j", "gap_s", "engine_s")


def entry(at: float = 1000.0, seconds: float = 60.0, **given: float) -> EnergyEntry:
    facts = {"requests_j": 10.0, "idle_j": 40.0, "other_j": 10.0, "metered_j": 60.0, "untold_j": 1.0, "engine_s": 6.0}
    return EnergyEntry(at=at, seconds=seconds, meter="rapl", error=0.05, **facts | given)


@given(st.floats(0, 1e6), st.floats(0.01, 1e5), st.floats(0, 1e4), st.floats(0, 1e4), st.lists(st.floats(-1e6, 2e6)))
def test_parts_of_an_entry_are_all_of_it(at, seconds, gap_s, waiting_s, cuts):
    whole = entry(at, seconds, gap_s=gap_s, waiting_s=waiting_s)
    places = [-math.inf, *sorted(cuts), math.inf]
    parts = [within(whole, begin, end) for begin, end in pairwise(places)]
    for name in PARTS:
        total = sum(getattr(part, name) for part in parts if part is not None)
        assert total == pytest.approx(getattr(whole, name), rel=1e-6, abs=1e-6)
    assert sum(part.waiting_s for part in parts if part is not None) in (0.0, waiting_s)


def test_what_was_not_read_yet_is_not_of_an_entrys_time():
    waiting = entry(at=1000.0, seconds=60.0, waiting_s=30.0)
    assert began_at(waiting) == 910.0
    assert within(waiting, 970.0, 2000.0) is None
    assert within(waiting, 940.0, 2000.0).metered_j == pytest.approx(30.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"metered_j": math.nan}, {"seconds": -1.0}, {"idle_j": -40.0, "other_j": 90.0}, {"metered_j": 61.0},
        {"untold_j": math.inf}, {"seconds": 0.0},
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_meant_is_in_no_sum(wrong):
    assert is_sound(entry())
    bad = msgspec.structs.replace(entry(), **wrong)
    assert not is_sound(bad)
    found = sum_up([entry(), bad]).energy
    assert (found.metered_j, found.idle_j, found.doubtful) == (60.0, 40.0, 1)


def test_sums_between_two_times_have_the_part_of_an_entry_that_lies_there(tmp_path):
    with Ledger(tmp_path, "gateway") as ledger:
        ledger.append(entry(at=1030.0))  # 970 to 1030
        ledger.append(entry(at=1090.0))
    first, second = stats(tmp_path, until=1000.0).energy, stats(tmp_path, since=1000.0).energy
    assert (first.metered_j, second.metered_j) == (pytest.approx(30.0), pytest.approx(90.0))
    assert stats(tmp_path, since=1000.0, until=1030.0).energy.idle_j == pytest.approx(20.0)
    assert stats(tmp_path, since=1090.0).energy is None
