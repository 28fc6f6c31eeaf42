"""Find the place of an entry by the id in it, the newest segments first: bytes are searched, few are decoded."""

from __future__ import annotations

import mmap
from pathlib import Path

from tokenworks.core.errors import ConfigError, NotFoundError
from tokenworks.ledger import segment
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.position import Position
from tokenworks.ledger.reader import decode, writers


def place_of(root: Path, name: str) -> Position:
    """Return the position that `name` means: `WRITER:INDEX`, or the id of a request or feedback.

    Raises `NotFoundError` where the log has no such entry.
    """
    writer, colon, index = name.rpartition(":")
    if colon and index.isdecimal():
        if writer not in writers(root):
            raise NotFoundError(f"ledger {root}: no writer {writer!r}; there are {', '.join(writers(root)) or 'none'}")
        return Position(writer, int(index))
    if len(name) < 3:
        raise ConfigError(f"{name!r}: give WRITER:INDEX, or the id of a request or feedback")
    for writer in writers(root):
        for path in reversed(segment.segments(root / writer)):
            if _holds(path, name.encode()):
                found = segment.load(path)
                for number, (start, end) in enumerate(found.leaves, found.first):
                    if _is_called(found.data[start + 1 : end], name):
                        return Position(writer, number)
    raise NotFoundError(f"ledger {root}: nothing is called {name!r}; see 'tokenworks ledger tail'")


def _holds(path: Path, name: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(name) >= 0


def _is_called(payload: memoryview, name: str) -> bool:
    if name.encode() not in bytes(payload):
        return False
    entry = decode(payload)
    return (isinstance(entry, RequestEntry) and entry.request_id == name) or (
        isinstance(entry, FeedbackEntry) and entry.feedback_id == name
    )
