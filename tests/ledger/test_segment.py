"""Frames and files: whatever happens to the bytes is found, and where."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger import segment

Batches = list[list[bytes]]
payloads = st.binary(min_size=1, max_size=60)
batches = st.lists(st.lists(payloads, min_size=1, max_size=5), min_size=2, max_size=6)


def _build(content: Batches, first: int = 0, size: int = 1 << 13) -> tuple[bytearray, list[int], int]:
    """Return a segment's bytes, where each frame starts (and the last ends), and the number of the last batch."""
    data, number, starts = bytearray(segment.HEADER_BYTES), first, [segment.HEADER_BYTES]
    for batch in content:
        opening = number
        for payload in batch:
            data += segment.frame(payload, number, opening)
            starts.append(len(data))
            number += 1
    return data + bytes(size - len(data)), starts, opening


@given(content=batches, first=st.sampled_from([0, 7, 0xFFFE, 0xFFFFFFFD, 1 << 40]))
def test_frames_come_back_as_they_were_written(content: Batches, first: int) -> None:
    data, starts, _ = _build(content, first)
    view = memoryview(data)
    found = segment.scan(view, segment.HEADER_BYTES, first)
    flat = [payload for batch in content for payload in batch]
    assert [bytes(view[start + 1 : end]) for start, end in found.leaves] == flat
    assert all(view[start] == 0 for start, _ in found.leaves)
    assert found.stop == starts[-1]
    assert segment.judge(view, found.stop, first + len(flat)) == "clean"


@settings(max_examples=300, deadline=None)
@given(content=batches, first=st.sampled_from([0, 0xFFFE, 0xFFFFFFFD, 1 << 40]), data=st.data())
def test_any_byte_changed_before_the_last_batch_is_damage_and_located(
    content: Batches, first: int, data: st.DataObject
) -> None:
    bytes_, starts, last_batch = _build(content, first)
    end = starts[last_batch - first]
    spots = data.draw(st.lists(st.integers(segment.HEADER_BYTES, end - 1), min_size=1, max_size=4, unique=True))
    for spot in spots:
        bytes_[spot] ^= data.draw(st.integers(1, 255))
    view = memoryview(bytes_)
    found = segment.scan(view, segment.HEADER_BYTES, first)
    hit = max(index for index, start in enumerate(starts) if start <= min(spots))
    assert len(found.leaves) == hit
    assert found.stop == starts[hit]
    assert segment.judge(view, found.stop, first + hit) == "damaged"


@settings(max_examples=200, deadline=None)
@given(content=batches, data=st.data())
def test_any_part_of_the_last_batch_missing_is_a_torn_write(content: Batches, data: st.DataObject) -> None:
    bytes_, starts, last_batch = _build(content)
    begin, end = starts[last_batch], starts[-1]
    # A crash may keep any blocks of the unfinished write and lose others.
    lost = data.draw(st.lists(st.integers(begin, end - 1), min_size=1, unique=True))
    for spot in lost:
        bytes_[spot] = 0
    view = memoryview(bytes_)
    found = segment.scan(view, segment.HEADER_BYTES, 0)
    assert len(found.leaves) >= last_batch
    assert segment.judge(view, found.stop, len(found.leaves)) in ("torn", "clean")


def test_more_bytes_than_one_write_can_leave_are_damage() -> None:
    data = bytearray(segment.HEADER_BYTES) + b"x" * (segment.MAX_BATCH_BYTES + 1)
    assert segment.judge(memoryview(data), segment.HEADER_BYTES, 0) == "damaged"


def test_a_segment_is_made_whole_with_its_header(tmp_path: Path) -> None:
    path = segment.create(tmp_path, 42, 10_000)
    assert path.name == "0000000000000042.seg"
    assert segment.read_header(path, path.read_bytes()) == segment.Header(42, 10_000)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("wound", ["cut", "grown", "flipped", "renamed", "empty"])
def test_a_wounded_file_is_told_by_its_header(tmp_path: Path, wound: str) -> None:
    path = segment.create(tmp_path, 0, 10_000)
    data = path.read_bytes()
    changed = {"cut": data[:5000], "grown": data + b"\0", "flipped": b"X" + data[1:], "empty": b""}.get(wound, data)
    if wound == "renamed":
        path = path.rename(tmp_path / segment.segment_name(7))
    with pytest.raises(IntegrityError, match=str(path)):
        segment.read_header(path, changed)


@given(spot=st.integers(0, segment.HEADER_BYTES - 1), flip=st.integers(1, 255))
def test_any_byte_changed_in_a_header_is_found(tmp_path_factory: pytest.TempPathFactory, spot: int, flip: int) -> None:
    path = segment.create(tmp_path_factory.mktemp("log"), 3, 1000)
    data = bytearray(path.read_bytes())
    data[spot] ^= flip
    with pytest.raises(IntegrityError):
        segment.read_header(path, bytes(data))


def test_a_segment_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        segment.create(tmp_path, 0, 10_000)
    assert list(tmp_path.iterdir()) == []


def test_a_segment_is_loaded_with_what_it_holds_and_how_it_ends(tmp_path: Path) -> None:
    path = segment.create(tmp_path, 0, 8192)
    content = [[b"one", b"two"], [b"three"]]
    data, starts, _ = _build(content)
    path.write_bytes(path.read_bytes()[: segment.HEADER_BYTES] + data[segment.HEADER_BYTES :])
    whole = segment.load(path)
    assert (whole.first, len(whole.leaves), whole.stop, whole.ending) == (0, 3, starts[-1], "clean")
    rest = segment.load(path, starts[1], 1)
    assert rest.leaves == whole.leaves[1:]
    data[starts[1] + 18] ^= 1
    path.write_bytes(path.read_bytes()[: segment.HEADER_BYTES] + data[segment.HEADER_BYTES :])
    assert (segment.load(path).stop, segment.load(path).ending) == (starts[1], "damaged")


@settings(max_examples=100, deadline=None)
@given(
    stop=st.integers(0, 300_000),
    size=st.integers(1, 300_000),
    written=st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 255)), max_size=4),
)
def test_any_byte_behind_the_last_frame_is_seen_wherever_it_lies(
    stop: int, size: int, written: list[tuple[int, int]]
) -> None:
    data = bytearray(stop + size)
    for spot, value in written:
        data[spot % len(data)] = value
    clean = segment.judge(memoryview(data), stop, 0) == "clean"
    assert clean == (not any(data[stop:]))


@given(content=batches, split=st.integers(0, 100))
def test_what_was_gained_is_what_the_whole_file_says(
    tmp_path_factory: pytest.TempPathFactory, content: Batches, split: int
) -> None:
    path = tmp_path_factory.mktemp("log") / segment.segment_name(0)
    data, starts, _ = _build(content)
    path.write_bytes(data)
    place = split % len(starts)
    new = segment.gained(path, starts[place], place)
    assert new is not None
    flat = [payload for batch in content for payload in batch]
    assert [bytes(new.data[begin + 1 : end]) for begin, end in new.leaves] == flat[place:]


@pytest.mark.parametrize("count", [1, 40, 400, 4000])
def test_much_that_was_gained_at_once_is_read_to_its_end(tmp_path: Path, count: int) -> None:
    path = tmp_path / segment.segment_name(0)
    frames = b"".join(segment.frame(b"x" * 700, number, 0) for number in range(count))
    path.write_bytes(bytes(segment.HEADER_BYTES) + frames + bytes(4 << 20))
    new = segment.gained(path, segment.HEADER_BYTES, 0)
    assert new is not None
    assert len(new.leaves) == count


@pytest.mark.parametrize("behind", [b"\1", bytes(100) + b"\1", b"", bytes(16)])
def test_what_no_zeros_follow_is_left_to_a_look_at_the_whole_file(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / segment.segment_name(0)
    path.write_bytes(bytes(segment.HEADER_BYTES) + segment.frame(b"one", 0, 0) + behind)
    new = segment.gained(path, segment.HEADER_BYTES, 0)
    assert (new is None) == (len(behind) < 100)
