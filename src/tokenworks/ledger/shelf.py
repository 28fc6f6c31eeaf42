"""One file of texts by key, which only grows, and its index, which can be made again from it. Knows no request.

A text is `crc32 | key bytes | text bytes | form | key | text`, little-endian; the checksum covers all that follows it,
of an erased text all but the zeros in the text's place.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol
from zlib import crc32

import zstandard

from tokenworks.core.errors import IntegrityError
from tokenworks.core.files import write_atomic

SUFFIX = ".bodies"
COMPRESS_FROM = 256  # bytes; shorter texts would only grow
MAX_TEXT_BYTES = 256 << 20
HEAD = struct.Struct("<IHIB")
PLAIN, ZSTD, ERASED, SEALED = 0, 1, 2, 3  # within a sealed text the first byte says which of the first two it is
_SLOT = 16  # bytes of an index entry: hash of the key, then the offset, both big-endian so that they sort as bytes


class Found(NamedTuple):
    """A text and where the next one begins."""

    key: bytes
    text: bytes
    form: int
    end: int


class Opener(Protocol):
    """Who can open sealed texts."""

    def open(self, about: bytes, sealed: bytes) -> bytes | None:
        """Return the text, None where its key was erased."""
        ...

    def is_erased(self, sealed: bytes) -> bool:
        """Return whether the key of a sealed text was erased."""
        ...


def record(
    key: bytes, text: bytes, compressor: zstandard.ZstdCompressor, seal: Callable[[bytes, bytes], bytes] | None = None
) -> bytes:
    """Return `text` in the form that it has in the file, sealed by `seal(key, text)` where there is one."""
    form = PLAIN
    if len(text) >= COMPRESS_FROM:
        packed = compressor.compress(text)
        if len(packed) < len(text):
            form, text = ZSTD, packed
    if seal is not None:
        form, text = SEALED, seal(key, bytes((form,)) + text)
    body = HEAD.pack(0, len(key), len(text), form)[4:] + key + text
    return struct.pack("<I", crc32(body)) + body


def erased(key: bytes, text_bytes: int = 0) -> bytes:
    """Return how the place of a text begins once it is erased; `text_bytes` zeros follow."""
    body = HEAD.pack(0, len(key), text_bytes, ERASED)[4:] + key
    return struct.pack("<I", crc32(body)) + body


class Shelf:
    """A file of texts, read by key. Texts that another process adds are found as they come."""

    def __init__(self, path: Path, opener: Opener | None = None) -> None:
        self.path = path
        self._opener = opener
        self._index = b""
        self._offsets: dict[bytes, int] = {}
        self._scanned = 0

    def find(self, key: bytes) -> bytes | None:
        """Return the text last stored under `key`, or None where there is none or it was erased."""
        found = self._found(key)
        return None if found is None else self._text(found)

    def is_erased(self, key: bytes) -> bool:
        """Return whether a text under `key` was erased here."""
        found = self._found(key)
        return found is not None and self._is_gone(found)

    def places(self, keys: set[bytes]) -> list[int]:
        """Return where the last texts under `keys` may be: no need to read the file where that is nowhere."""
        try:
            with self.path.open("rb") as file:
                return self._offsets_of(file.fileno(), keys)
        except FileNotFoundError:
            return []

    def _found(self, key: bytes) -> Found | None:
        try:
            with self.path.open("rb") as file:
                offset = self._offset(file.fileno(), key)
                found = None if offset is None else read_at(file.fileno(), offset)
        except FileNotFoundError:
            return None
        if offset is not None and (found is None or found.key != key):
            raise self._damaged(offset)
        return found

    def find_many(self, keys: Collection[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Yield those of `keys` that are here with their texts, in the order of the file: one pass over it at most."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            wanted = set(keys)
            for offset in sorted(self._offsets_of(file.fileno(), wanted)):
                found = read_at(file.fileno(), offset)
                if found is None:
                    raise self._damaged(offset)
                if found.key in wanted and (text := self._text(found)) is not None:  # others may have the same hash
                    yield found.key, text

    def _text(self, found: Found) -> bytes | None:
        if found.form == ERASED:
            return None
        if found.form != SEALED:
            return _unpacked(found.form, found.text)
        opened = self._opened_by().open(found.key, found.text)
        return None if opened is None else _unpacked(opened[0], opened[1:])

    def _is_gone(self, found: Found) -> bool:
        return found.form == ERASED or (found.form == SEALED and self._opened_by().is_erased(found.text))

    def _opened_by(self) -> Opener:
        if self._opener is None:
            raise IntegrityError(f"{self.path}: its texts are sealed; open it with the keys of its home")
        return self._opener

    def _damaged(self, offset: int) -> IntegrityError:
        return IntegrityError(f"{self.path}: the text at byte {offset} is damaged; restore the file from a backup")

    def write_index(self) -> None:
        """Write down where everything is, once the file grows no more."""
        with self.path.open("rb") as file:
            self._scan(file.fileno())
        slots = sorted(_hash(key) + offset.to_bytes(8, "big") for key, offset in self._offsets.items())
        write_atomic(self.index_path, b"".join(slots))
        self._offsets.clear()

    def count(self) -> int:
        """Return how many keys have a text here."""
        with self.path.open("rb") as file:
            self._offset(file.fileno(), b"")
        return len(self._index) // _SLOT if self._index else len(self._offsets)

    def all(self) -> Iterator[Found]:
        """Yield every text as it lies there, also those that a later one replaced."""
        with self.path.open("rb") as file:
            offset = 0
            while (found := read_at(file.fileno(), offset)) is not None:
                yield found
                offset = found.end

    @property
    def index_path(self) -> Path:
        """Where the index lies, if there is one yet."""
        return self.path.with_suffix(".index")

    def _offset(self, file: int, key: bytes) -> int | None:
        if not self._index and self.index_path.exists():
            self._index, self._offsets = self.index_path.read_bytes(), {}
        if not self._index:
            self._scan(file)
            return self._offsets.get(key)
        return self._look_up(file, key)

    def _offsets_of(self, file: int, keys: set[bytes]) -> list[int]:
        """Return where texts under `keys` may be, the last one of each key."""
        if self._offset(file, b"") is None and not self._index:  # reads the index, or scans what came since
            return [self._offsets[key] for key in keys if key in self._offsets]
        import numpy as np  # only who reads by the thousand needs it

        slots = np.frombuffer(self._index, ">u8").reshape(-1, 2)
        hashes = np.sort(np.frombuffer(b"".join(map(_hash, keys)), ">u8").astype(np.uint64))
        places = np.searchsorted(hashes, slots[:, 0].astype(np.uint64))
        here = places < len(hashes)
        here[here] = hashes[places[here]] == slots[here, 0].astype(np.uint64)
        return [int(offset) for offset in slots[here, 1]]

    def _look_up(self, file: int, key: bytes) -> int | None:
        wanted, slots = _hash(key), len(self._index) // _SLOT
        at = bisect_left(range(slots), wanted, key=lambda slot: self._index[slot * _SLOT : slot * _SLOT + 8])
        for slot in range(at, slots):  # several keys may share a hash
            entry = self._index[slot * _SLOT : (slot + 1) * _SLOT]
            if entry[:8] != wanted:
                return None
            offset = int.from_bytes(entry[8:], "big")
            found = read_at(file, offset)
            if found is None or found.key == key:
                return offset
        return None

    def _scan(self, file: int) -> None:
        """Learn of the texts that came since the last time; an unfinished one at the end is left for the next time."""
        while (found := read_at(file, self._scanned)) is not None:
            self._offsets[found.key] = self._scanned
            self._scanned = found.end


def read_at(file: int, offset: int) -> Found | None:
    """Return the text at `offset`, or None where there is none that is whole."""
    # Twice: one that is erased while we read is neither the old nor the new one, and is whole a moment later.
    return _read(file, offset) or _read(file, offset)


def _read(file: int, offset: int) -> Found | None:
    start = os.pread(file, 4096, offset)  # most texts are short: one read
    if len(start) < HEAD.size:
        return None
    crc, key_bytes, text_bytes, form = HEAD.unpack_from(start)
    size = HEAD.size + key_bytes + text_bytes
    if text_bytes > MAX_TEXT_BYTES:
        return None
    if form == ERASED:
        return _read_erased(file, offset, start, size)
    if size > len(start):
        start += os.pread(file, size - len(start), offset + len(start))
    if len(start) < size or crc32(start[4:size]) != crc:
        return None
    middle = HEAD.size + key_bytes
    return Found(start[HEAD.size : middle], start[middle:size], form, offset + size)


def _read_erased(file: int, offset: int, start: bytes, size: int) -> Found | None:
    crc, key_bytes, _, _ = HEAD.unpack_from(start)
    middle = HEAD.size + key_bytes
    if middle > len(start):
        start += os.pread(file, middle - len(start), offset + len(start))
    if len(start) < middle or crc32(start[4:middle]) != crc:
        return None
    return Found(start[HEAD.size : middle], b"", ERASED, offset + size)


def _unpacked(form: int, text: bytes) -> bytes:
    if form == PLAIN:
        return text
    return zstandard.ZstdDecompressor().decompress(text, max_output_size=MAX_TEXT_BYTES)


def _hash(key: bytes) -> bytes:
    return blake2b(key, digest_size=8).digest()
