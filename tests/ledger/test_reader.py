"""Reading: every writer's entries in its own order, merged by time, now and as they come."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger import segment
from tokenworks.ledger.reader import Cursor, follow, read, writers
from tokenworks.ledger.writer import Ledger

SMALL = 4096


def test_two_writers_are_merged_by_time(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "odd") as odd, Ledger(tmp_path, "even", segment_bytes=SMALL) as even:
        for number in range(80):
            (odd if number % 2 else even).append(entry(number))
    assert [found.request_id for _, found in read(tmp_path)] == [f"req-{n}" for n in range(80)]
    assert {place.writer for place, _ in read(tmp_path)} == {"odd", "even"}
    assert writers(tmp_path) == ["even", "odd"]


def test_a_writers_own_order_outranks_its_clock(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "one") as one, Ledger(tmp_path, "two") as two:
        for number, at in enumerate([10.0, 5.0, 20.0]):
            one.append(entry(number, at=at))
        two.append(entry(9, at=15.0))
    assert [found.request_id for _, found in read(tmp_path)] == ["req-0", "req-1", "req-9", "req-2"]


@pytest.mark.parametrize("after", [-1, 0, 17, 58, 59])
def test_reading_may_begin_after_any_entry(tmp_path: Path, entry, after: int) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        for number in range(60):
            ledger.append(entry(number))
    found = [place.index for place, _ in read(tmp_path, after={"gateway": after})]
    assert found == list(range(after + 1, 60))


def test_an_empty_place_has_no_entries(tmp_path: Path) -> None:
    assert list(read(tmp_path / "nowhere")) == []


def test_following_gives_what_comes_later_too(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        ledger.append(entry(0))

        def write() -> None:
            for number in range(1, 60):
                ledger.append(entry(number))
            with Ledger(tmp_path, "late") as late:
                late.append(entry(60))

        thread = threading.Thread(target=write)
        found: list[str] = []
        for _, seen in follow(tmp_path, poll_s=0.01, stop=lambda: len(found) >= 61):
            found.append(seen.request_id)
            if len(found) == 1:
                thread.start()
        thread.join()
    assert found == [f"req-{n}" for n in range(61)]


def test_damage_stops_the_reading_with_file_offset_and_entry(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        for number in range(5):
            ledger.append(entry(number))
    path = tmp_path / "gateway" / segment.segment_name(0)
    data = bytearray(path.read_bytes())
    data[segment.HEADER_BYTES + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"{path}: damaged at byte 64, entry 0"):
        list(read(tmp_path))


def test_damage_found_later_stops_whoever_follows_at_every_look(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        cursor = Cursor(tmp_path / "gateway")
        for number in range(3):
            ledger.append(entry(number))
        assert [place.index for place, _ in cursor.entries()] == [0, 1, 2]
        for number in range(3, 6):
            ledger.append(entry(number))
    path = tmp_path / "gateway" / segment.segment_name(0)
    data = bytearray(path.read_bytes())
    data[segment.load(path).leaves[4][0] + 5] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="entry 4"):
            list(cursor.entries())
    assert cursor.index == 4


def test_a_missing_first_segment_is_no_empty_ledger(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        for number in range(60):
            ledger.append(entry(number))
    segment.segments(tmp_path / "gateway")[0].unlink()
    with pytest.raises(IntegrityError, match="entry 0 is missing"):
        list(read(tmp_path))


@pytest.mark.parametrize("place", [0, 30, 59, 60])
def test_a_place_at_the_end_is_still_one_when_it_is_read_again(tmp_path: Path, entry, place: int) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        for number in range(60):
            ledger.append(entry(number))
        cursor = Cursor(tmp_path / "gateway", place)
        assert [where.index for where, _ in cursor.entries()] == list(range(place, 60))
        assert list(cursor.entries()) == []
        ledger.append(entry(60))
        assert [where.index for where, _ in cursor.entries()] == [60]
