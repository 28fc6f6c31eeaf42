"""Read the ledger: one writer's entries in order, all writers' merged by time, now or as they come."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from tokenworks.core.errors import IntegrityError, StoreError
from tokenworks.ledger import segment
from tokenworks.ledger.entries import AnyEntry
from tokenworks.ledger.heads import LATEST
from tokenworks.ledger.position import Position

decode = msgspec.msgpack.Decoder(AnyEntry).decode


def read(root: Path, *, after: Mapping[str, int] | None = None) -> Iterator[tuple[Position, AnyEntry]]:
    """Yield every entry, merged by time; of a writer named in `after`, only those with a higher index.

    Each writer's own order is kept even where its clock ran backwards. Raises `IntegrityError` at damage.
    """
    seen = after or {}
    streams = [_timed(Cursor(root / name, seen.get(name, -1) + 1)) for name in writers(root)]
    return ((position, entry) for _, position, entry in heapq.merge(*streams, key=lambda item: item[0]))


def follow(
    root: Path, *, after: Mapping[str, int] | None = None, poll_s: float = 0.2, stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Position, AnyEntry]]:
    """Yield entries as `read` does, then new ones as they come, until `stop()` says so."""
    seen, cursors = dict(after or {}), dict[str, Cursor]()
    while not stop():
        for name in writers(root):
            cursors.setdefault(name, Cursor(root / name, seen.get(name, -1) + 1))
        streams = [_timed(cursor) for cursor in cursors.values()]
        for _, position, entry in heapq.merge(*streams, key=lambda item: item[0]):
            yield position, entry
        time.sleep(poll_s)


def writers(root: Path) -> list[str]:
    """Return the names of all who ever wrote."""
    # A head without segments is a writer's too: one whose entries are gone.
    return sorted({path.parent.name for pattern in ("*/*.seg", f"*/{LATEST}") for path in root.glob(pattern)})


class Cursor:
    """A place in one writer's log; reads on from there whenever asked."""

    def __init__(self, folder: Path, index: int = 0) -> None:
        self.folder, self.index = folder, index
        self._path: Path | None = None
        self._judged: Path | None = None  # the file that was once read to its end and found whole
        self._offset = segment.HEADER_BYTES

    def entries(self) -> Iterator[tuple[Position, AnyEntry]]:
        """Yield what is there now, from the place on."""
        while True:
            paths = segment.segments(self.folder)
            path = self._segment(paths)
            if path is None:
                return
            yield from self._read(path, is_last=path == paths[-1])
            if path == paths[-1]:
                return

    def _segment(self, paths: list[Path]) -> Path | None:
        """Return the file in which the place lies."""
        candidates = [path for path in paths if int(path.stem) <= self.index]
        if not candidates:
            if paths:
                raise IntegrityError(f"{self.folder}: the segment with entry {self.index} is missing")
            return None
        return candidates[-1]

    def _read(self, path: Path, *, is_last: bool) -> Iterator[tuple[Position, AnyEntry]]:
        if path != self._path:
            self._path, self._offset, start = path, segment.HEADER_BYTES, int(path.stem)
        else:
            start = self.index
            new = segment.gained(path, self._offset, start) if is_last and path == self._judged else None
            if new is not None:
                yield from self._entries(path, new.data, new.leaves, start, at=self._offset)
                return
        self._judged = None
        found = segment.load(path, self._offset, start)
        yield from self._entries(path, found.data, found.leaves, start, at=0)
        number = start + len(found.leaves)
        if found.ending == "damaged" or (found.ending == "torn" and not is_last):
            raise IntegrityError(
                f"{path}: damaged at byte {found.stop}, entry {number}; run 'tokenworks ledger verify', "
                "then restore the file from a backup"
            )
        self._judged = path
        if not is_last and number == self.index:
            self._path = None

    def _entries(
        self, path: Path, data: memoryview, leaves: Sequence[tuple[int, int]], start: int, *, at: int
    ) -> Iterator[tuple[Position, AnyEntry]]:
        """Yield the entries at `leaves` in `data`, which begins at byte `at` of the file; the first is `start`."""
        name = self.folder.name
        for number, (begin, end) in enumerate(leaves, start):
            if number >= self.index:
                entry = self._decoded(data[begin + 1 : end], path, number)
                # The place moves first: whoever stops listening here has had the entry.
                self.index, self._offset = number + 1, at + end
                yield Position(name, number), entry
            else:
                self._offset = at + end  # so that a place at the end is found again when there is more

    def _decoded(self, payload: memoryview, path: Path, number: int) -> AnyEntry:
        try:
            entry: AnyEntry = decode(payload)
            return entry
        except msgspec.DecodeError as error:
            raise StoreError(
                f"{path}: entry {number} cannot be understood ({error}); a newer Tokenworks may have written it"
            ) from None


def _timed(cursor: Cursor) -> Iterator[tuple[float, Position, AnyEntry]]:
    """Yield with each entry the latest time so far: never decreasing, as a merge requires."""
    latest = float("-inf")
    for position, entry in cursor.entries():
        latest = max(latest, entry.at)
        yield latest, position, entry
