"""Segment files: framed records in preallocated, pre-zeroed files. Knows bytes and files, not what an entry means.

A frame is `crc32 | length | number | batch | 0x00 | payload`, little-endian 32-bit fields. The checksum covers all
that follows it; `number` counts the writer's entries from 0; `batch` is the number of the first entry that was synced
in the same step; the zero byte is the leaf prefix of RFC 6962, so that the last part of a frame is what a leaf hashes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple
from zlib import crc32

from tokenworks.core.errors import IntegrityError
from tokenworks.core.files import sync_folder

MAGIC = b"TWLEDG01"
SPARE = "spare"
HEADER_BYTES = 64
FRAME = struct.Struct("<IIIIB")
MAX_ENTRY_BYTES = 256 << 10
MAX_BATCH_BYTES = 1 << 20
GAIN_BYTES = 1 << 12  # read first of what may have been written: an entry has some hundred bytes
_BODY = struct.Struct("<IIIB")
_CRC = struct.Struct("<I")
_HEADER = struct.Struct("<8sQQ")  # magic, number of the first entry, bytes of the file
_MASK = 0xFFFFFFFF
_ZEROS = bytes(1 << 20)
_ZEROS_AT_ONCE = bytes(1 << 16)  # small enough to stay in the processor's own cache

Ending = Literal["clean", "torn", "damaged"]


class Header(NamedTuple):
    """What the head of a segment file says."""

    first: int
    size: int


class Spans(NamedTuple):
    """The whole frames found: for each where its leaf bytes (0x00 + payload) start and end; and where they stop."""

    leaves: list[tuple[int, int]]
    stop: int


class Contents(NamedTuple):
    """What a segment file holds from some place on; places are those in the file."""

    data: memoryview
    first: int  # number of the segment's first entry
    leaves: list[tuple[int, int]]
    stop: int
    ending: Ending


class Gained(NamedTuple):
    """What was written behind a place in a segment file; places are those in `data`."""

    data: memoryview
    leaves: list[tuple[int, int]]


def segment_name(first: int) -> str:
    """Return the file name of the segment whose first entry is number `first`."""
    return f"{first:016d}.seg"


def segments(folder: Path) -> list[Path]:
    """Return the segment files of a writer's folder in order."""
    return sorted(folder.glob("*.seg"))


def create(folder: Path, first: int, size: int) -> Path:
    """Make a zeroed segment of `size` bytes, durable before it bears its name. On any error nothing is left."""
    spare = prepare(folder, size)
    return claim(spare, first, size)


def prepare(folder: Path, size: int) -> Path:
    """Write the zeros of a segment to come: slow, so that it can be done ahead of need."""
    spare = folder / SPARE
    try:
        with spare.open("wb") as file:
            for offset in range(0, size, len(_ZEROS)):
                file.write(_ZEROS[: size - offset])
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        spare.unlink(missing_ok=True)
        raise
    return spare


def claim(spare: Path, first: int, size: int) -> Path:
    """Turn a prepared file into the segment that starts with entry number `first`."""
    head = _HEADER.pack(MAGIC, first, size)
    with spare.open("r+b") as file:
        file.write(head + _CRC.pack(crc32(head)))
        file.flush()
        os.fsync(file.fileno())
    path = spare.parent / segment_name(first)
    os.rename(spare, path)
    sync_folder(path.parent)
    return path


def read_header(path: Path, data: bytes) -> Header:
    """Return what the head of the segment says; raise `IntegrityError` where it is damaged or the file is short."""
    head = data[: _HEADER.size]
    checksum = data[_HEADER.size : _HEADER.size + _CRC.size]
    if len(data) < HEADER_BYTES or checksum != _CRC.pack(crc32(head)):
        raise IntegrityError(f"{path}: the head of the segment is damaged")
    magic, first, size = _HEADER.unpack(head)
    if magic != MAGIC or path.name != segment_name(first) or any(data[_HEADER.size + _CRC.size : HEADER_BYTES]):
        raise IntegrityError(f"{path}: the head of the segment is damaged, or the file was renamed")
    if len(data) != size:
        raise IntegrityError(f"{path}: {len(data)} bytes long where {size} were made: truncated or extended")
    return Header(first, size)


def load(path: Path, offset: int = HEADER_BYTES, number: int | None = None) -> Contents:
    """Return the file's whole frames from `offset` on, the first being entry `number` (None: the segment's first).

    Raises `IntegrityError` for a damaged header or a file of the wrong length.
    """
    data = path.read_bytes()
    while True:
        view, first = memoryview(data), read_header(path, data).first
        start = first if number is None else number
        found = scan(view, offset, start)
        ending = judge(view, found.stop, start + len(found.leaves))
        if ending != "damaged":
            return Contents(view, first, found.leaves, found.stop, ending)
        # Beside a running writer one batch may have been missed and the next one seen: damage does not change.
        again = path.read_bytes()
        if again == data:
            return Contents(view, first, found.leaves, found.stop, ending)
        data = again


def gained(path: Path, offset: int, number: int) -> Gained | None:
    """Return the whole frames from `offset` on, the first being entry `number`, where nothing but zeros comes next.

    Reads what was written instead of the whole file, for who comes back to one that was judged before. None: only
    `load` can say what lies there, a write under way, damage or the file's end.
    """
    wanted = GAIN_BYTES
    with path.open("rb", buffering=0) as file:
        while True:
            data = os.pread(file.fileno(), wanted, offset)
            found = scan(memoryview(data), 0, number)
            if data[found.stop : found.stop + FRAME.size] == _ZEROS[: FRAME.size]:
                return Gained(memoryview(data), found.leaves)
            if len(data) < wanted or wanted > found.stop + FRAME.size + MAX_ENTRY_BYTES:
                return None
            wanted *= 8


def frame(payload: bytes, number: int, batch: int) -> bytes:
    """Return `payload` as a frame."""
    return b"".join(frames([payload], number, batch))


def read_frame(file: BinaryIO, offset: int, number: int) -> bytes:
    """Return the payload of the frame at `offset`; raise `IntegrityError` where it is not that of entry `number`."""
    file.seek(max(0, offset))
    head = file.read(FRAME.size)
    if len(head) == FRAME.size:
        crc, length, found, _, _ = FRAME.unpack(head)
        payload = file.read(min(length, MAX_ENTRY_BYTES))
        if found == number & _MASK and len(payload) == length and crc32(head[4:] + payload) == crc:
            return payload
    raise IntegrityError(f"{file.name}: damaged at byte {offset}, entry {number}: run verify")


def frames(payloads: Sequence[bytes], number: int, batch: int) -> list[bytes]:
    """Return the parts of the frames of `payloads`, the first being entry `number`, to be joined."""
    parts: list[bytes] = []
    for place, payload in enumerate(payloads, number):
        body = _BODY.pack(len(payload), place & _MASK, batch & _MASK, 0) + payload
        parts += (_CRC.pack(crc32(body)), body)
    return parts


def scan(data: memoryview, offset: int, number: int) -> Spans:
    """Return every whole frame from `offset` on, the first being entry `number`."""
    leaves: list[tuple[int, int]] = []
    size, overhead, unpack = len(data), FRAME.size, FRAME.unpack_from
    while offset + overhead < size:
        crc, length, found, _, _ = unpack(data, offset)
        end = offset + overhead + length
        if not length or end > size or found != number & _MASK or crc32(data[offset + 4 : end]) != crc:
            break
        leaves.append((offset + overhead - 1, end))
        offset = end
        number += 1
    return Spans(leaves, offset)


def judge(data: memoryview, stop: int, number: int) -> Ending:
    """Say what lies at `stop`, where entry `number` would be: nothing, an unfinished write, or damage.

    A batch is written only after the one before it is durable. So whole frames of a batch that began after entry
    `number` prove that the entry was once there: damage. Without any, the last write was torn.
    """
    rest = bytes(data[stop : _last_written(data, stop)])
    if not rest:
        return "clean"
    if len(rest) > MAX_BATCH_BYTES:
        return "damaged"
    for at in _marks(rest, number):
        whole = _whole_frame(data, stop + at, number)
        if whole is not None and 0 < (whole - number) & _MASK < 1 << 31:
            return "damaged"
    return "torn"


def _last_written(data: memoryview, stop: int) -> int:
    """Return where the zeros at the end of `data` begin, `stop` at the earliest.

    Nearly all of a segment is zeros that nobody has written over: whole chunks of them are passed by at once.
    """
    end = len(data)
    while end > stop:
        chunk = bytes(data[max(stop, end - len(_ZEROS_AT_ONCE)) : end])
        if chunk != _ZEROS_AT_ONCE[: len(chunk)]:
            return end - len(chunk) + len(chunk.rstrip(b"\0"))
        end -= len(chunk)
    return stop


def _marks(rest: bytes, number: int) -> Iterator[int]:
    """Yield where in `rest` the frame of an entry soon after `number` may begin."""
    high = ((number + 1) & _MASK) >> 16
    for half in (high, (high + 1) & 0xFFFF):  # bytes 10 and 11 of a frame: equal for all entries near by
        mark = struct.pack("<H", half)
        at = rest.find(mark, 11)
        while at >= 0:
            yield at - 10
            at = rest.find(mark, at + 1)


def _whole_frame(data: memoryview, at: int, number: int) -> int | None:
    """Return the batch of the whole frame at `at` if there is one of an entry soon after `number`."""
    if at + FRAME.size >= len(data):
        return None
    crc, length, found, batch, zero = FRAME.unpack_from(data, at)
    end = at + FRAME.size + length
    near = 0 < (found - number) & _MASK < 1 << 17
    if zero or not near or not 0 < length <= MAX_ENTRY_BYTES or end > len(data) or crc32(data[at + 4 : end]) != crc:
        return None
    return int(batch)
