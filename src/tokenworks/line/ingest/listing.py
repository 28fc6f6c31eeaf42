"""The listing of one run in a file of its own: a million entries cost disk, not memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from tokenworks.line.ingest.walk import Entry

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Where the result of an entry is, or why there is none."""

    key: str = ""
    reason: str = ""
    detail: str = ""


class Listing:
    """Entries numbered from 0 in their order, and what came of each."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # cheap to make again, and the folders may have changed since a kill
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL)")
        self._db.execute("CREATE TABLE outcomes (number INTEGER PRIMARY KEY, key TEXT, reason TEXT, detail TEXT)")
        self._db.execute("BEGIN")

    def fill(self, entries: Iterable[Entry]) -> int:
        """Add all entries; return how many there are."""
        rows = ((number, _encode(entry)) for number, entry in enumerate(entries))
        return self._db.executemany("INSERT INTO entries VALUES (?, ?)", rows).rowcount

    def settle(self, number: int, outcome: Outcome) -> None:
        """Record what came of an entry."""
        row = (number, outcome.key, outcome.reason, outcome.detail)
        self._db.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)", row)

    def entry(self, number: int) -> Entry:
        """Return entry `number`."""
        (data,) = self._db.execute("SELECT entry FROM entries WHERE number = ?", (number,)).fetchone()
        return _decode(data)

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Yield all entries with their numbers, in order."""
        for number, data in self._db.execute("SELECT number, entry FROM entries ORDER BY number"):
            yield number, _decode(data)

    def settled(self) -> Iterator[tuple[Entry, Outcome]]:
        """Yield all entries with their outcomes, in order."""
        rows = self._db.execute(
            "SELECT e.entry, o.key, o.reason, o.detail FROM entries e JOIN outcomes o USING (number) ORDER BY number"
        )
        for data, key, reason, detail in rows:
            yield _decode(data), Outcome(key=key, reason=reason, detail=detail)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
