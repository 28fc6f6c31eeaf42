"""The inner hashes of one writer's tree, so that a proof among millions reads a few kilobytes. A view over the log.

File `N` holds the roots of the perfect subtrees of 256**N leaves, one after the other: every 8192 bytes are a tile of
c2sp.org/tlog-tiles. File `places` holds where each entry's leaf begins in its segment. Both are dropped and made again
where they do not fit the log; nobody has to trust them, since a proof is checked against a tree head before it leaves.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from tokenworks.core.errors import IntegrityError
from tokenworks.core.files import locked
from tokenworks.ledger import segment
from tokenworks.ledger.merkle import consistency_path, hash_leaves, inclusion_path, node_hash, root_of

BITS, WIDTH, HASH_BYTES = 8, 256, 32
PLACES = "places"
_PLACE = struct.Struct("<Q")


class Tiles:
    """The tree of the log in `log`, kept in `folder`. Any number of processes may use it."""

    def __init__(self, log: Path, folder: Path) -> None:
        self._log, self._folder = log, folder

    def size(self) -> int:
        """Return how many leaves are held."""
        return min(_count(self._folder / "0", HASH_BYTES), _count(self._folder / PLACES, _PLACE.size))

    def reach(self, size: int) -> None:
        """Take in the log until `size` leaves are held; raise `IntegrityError` where it does not have as many."""
        if self.size() >= size:
            return
        with locked(self._folder / "lock"):
            self._grow(size)
        if self.size() < size:
            raise IntegrityError(f"{self._log}: {self.size()} entries where a tree head knows {size}: run verify")

    def fit(self, size: int, root: bytes) -> None:
        """Hold `size` leaves whose root is `root`, made again if need be; else raise `IntegrityError`."""
        if self._fits(size, root):
            return
        self.drop()
        self.reach(size)
        if self.root(size) != root:
            what = f"the entries 0 to {size - 1} are not those that the checkpoint was made of"
            raise IntegrityError(f"{self._log}: {what}; run 'tokenworks ledger verify'")

    def _fits(self, size: int, root: bytes) -> bool:
        try:
            self.reach(size)
            return self.root(size) == root
        except IntegrityError:  # it is of a log that was here before, or a kill left it half made
            return False

    def drop(self) -> None:
        """Forget everything."""
        with locked(self._folder / "lock"):
            for path in self._folder.glob("[0-9]*"):
                path.unlink()
            (self._folder / PLACES).unlink(missing_ok=True)

    def root(self, size: int) -> bytes:
        """Return the root over the first `size` leaves."""
        return root_of([]) if not size else self.hash_of(0, size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the audit path of leaf `index` in the tree of `size`."""
        return inclusion_path(index, size, self.hash_of)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Return the proof that the tree of `old` leaves is a prefix of that of `size`."""
        return consistency_path(old, size, self.hash_of)

    def hash_of(self, start: int, end: int) -> bytes:
        """Return the hash of the leaves from `start` up to before `end`, where `start` is aligned as in a tree."""
        parts = [self._node(height, place) for height, place in _perfect(start, end)]
        found = parts.pop()
        while parts:
            found = node_hash(parts.pop(), found)
        return found

    def payload(self, index: int) -> bytes:
        """Return the bytes of entry `index`; raise `IntegrityError` where the segment holds others."""
        paths = segment.segments(self._log)
        at = bisect.bisect_right([int(path.stem) for path in paths], index) - 1
        if at < 0:
            raise IntegrityError(f"{self._log}: the segment with entry {index} is missing")
        with contextlib.suppress(IntegrityError), paths[at].open("rb") as file:
            return segment.read_frame(file, self._place(index) - segment.FRAME.size + 1, index)
        found = segment.load(paths[at])  # the place was wrong, or the segment is
        if not 0 <= index - found.first < len(found.leaves):
            raise IntegrityError(f"{paths[at]}: entry {index} cannot be read: run 'tokenworks ledger verify'")
        start, end = found.leaves[index - found.first]
        return bytes(found.data[start + 1 : end])

    def _node(self, height: int, place: int) -> bytes:
        """Return the root of perfect subtree number `place` of those with 2**height leaves."""
        level, inner = divmod(height, BITS)
        data = _read(self._folder / str(level), (place << inner) * HASH_BYTES, HASH_BYTES << inner)
        if len(data) != HASH_BYTES << inner:
            raise IntegrityError(f"{self._folder}: the view ends too early; delete the folder: it is made again")
        return root_of(_hashes(data))

    def _place(self, index: int) -> int:
        data = _read(self._folder / PLACES, index * _PLACE.size, _PLACE.size)
        return int(_PLACE.unpack(data)[0]) if data else 0

    def _grow(self, size: int) -> None:
        number = self.size()
        _cut(self._folder / "0", number * HASH_BYTES)
        _cut(self._folder / PLACES, number * _PLACE.size)
        paths = segment.segments(self._log)
        at = bisect.bisect_right([int(path.stem) for path in paths], number) - 1
        for path in paths[max(0, at) :]:
            if number < size:
                number += self._take(path, number)
        self._raise_levels()

    def _take(self, path: Path, number: int) -> int:
        """Take in the entries of a segment from `number` on; return how many."""
        found = segment.load(path, self._offset(path, number), number)
        _append(self._folder / "0", b"".join(hash_leaves(found.data, found.leaves)))
        _append(self._folder / PLACES, b"".join([_PLACE.pack(start) for start, _ in found.leaves]))
        return len(found.leaves)

    def _offset(self, path: Path, number: int) -> int:
        """Return where in the segment entry `number` begins: after the one before it."""
        if int(path.stem) >= number:
            return segment.HEADER_BYTES
        start = self._place(number - 1) - segment.FRAME.size + 1
        with path.open("rb") as file:
            return start + segment.FRAME.size + len(segment.read_frame(file, start, number - 1))

    def _raise_levels(self) -> None:
        """Write the roots of whole tiles one level up, up to the top. What a kill cut off is written the next time."""
        for level in range(8):
            below, above = self._folder / str(level), self._folder / str(level + 1)
            have, whole = _count(above, HASH_BYTES), _count(below, HASH_BYTES) // WIDTH
            _cut(above, min(have, whole) * HASH_BYTES)
            if not whole:
                return
            with below.open("rb") as file:
                file.seek(min(have, whole) * WIDTH * HASH_BYTES)
                tiles = [file.read(WIDTH * HASH_BYTES) for _ in range(have, whole)]
            _append(above, b"".join([root_of(_hashes(tile)) for tile in tiles]))


def _perfect(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield height and number of the perfect subtrees that make up the leaves `start` to `end`, largest first."""
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _read(path: Path, offset: int, size: int) -> bytes:
    """Return the bytes at `offset`; fewer, or none, where the file ends before."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""


def _count(path: Path, width: int) -> int:
    try:
        return path.stat().st_size // width
    except FileNotFoundError:
        return 0


def _cut(path: Path, size: int) -> None:
    if path.exists() and path.stat().st_size != size:
        os.truncate(path, size)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
