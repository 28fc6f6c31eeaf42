"""Requests and feedback by name, without reading the log from its beginning: a view in one SQLite file.

Folded from the log, entry by entry; dropped, it is made again and says the same. What a kill leaves half done is rolled
back with the place up to which the log was read.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import StoreError
from tokenworks.ledger.entries import AnyEntry, FeedbackEntry, RequestEntry
from tokenworks.ledger.position import Position
from tokenworks.ledger.reader import Cursor, writers

HOUSE = "house"  # the tenant of our own judging: nobody gives feedback on it
BATCH = 20_000
_VERSION = 2
_TABLES = """
CREATE TABLE requests (id TEXT NOT NULL, tenant TEXT NOT NULL, model TEXT NOT NULL, entry BLOB NOT NULL,
  PRIMARY KEY (id, tenant)) WITHOUT ROWID;
CREATE TABLE feedback (id TEXT PRIMARY KEY, request TEXT NOT NULL, tenant TEXT NOT NULL, at REAL NOT NULL,
  correction INTEGER NOT NULL, entry BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX feedback_by_request ON feedback (request);
CREATE INDEX feedback_by_time ON feedback (at);
CREATE TABLE places (writer TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
"""
_encode = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(RequestEntry).decode
_feedback = msgspec.msgpack.Decoder(FeedbackEntry).decode


class Lookup:
    """The view at `path` over the log at `root`. Any number of processes and threads may ask."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root, self._path = root, path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._cursors: dict[str, Cursor] = {}
        self._database = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def request(self, request_id: str, tenant: str | None = None) -> RequestEntry | None:
        """Return the request (of the tenant), None where the log does not have it: callers choose ids."""
        query = "SELECT entry FROM requests WHERE id = ? AND (? IS NULL OR tenant = ?)"
        rows = self._ask(query, (request_id, tenant, tenant))
        if not rows:
            self.catch_up()
            rows = self._ask(query, (request_id, tenant, tenant))
        return _request(rows[0][0]) if rows else None

    def feedback(self, feedback_id: str) -> FeedbackEntry | None:
        """Return the feedback, None where the log does not have it."""
        self.catch_up()
        rows = self._ask("SELECT entry FROM feedback WHERE id = ?", (feedback_id,))
        return _feedback(rows[0][0]) if rows else None

    def about(self, request_id: str, tenant: str = "") -> list[FeedbackEntry]:
        """Return all feedback on a request (of the tenant), the oldest first."""
        self.catch_up()
        query = "SELECT entry FROM feedback WHERE request = ? AND ? IN ('', tenant) ORDER BY at, id"
        rows = self._ask(query, (request_id, tenant))
        return [_feedback(row[0]) for row in rows]

    def since(self, model: str, since: float, *, limit: int = 1000) -> list[tuple[FeedbackEntry, RequestEntry]]:
        """Return the newest feedback given after `since` on requests to `model` (empty: to any), the oldest first."""
        self.catch_up()
        query = """SELECT f.entry, r.entry FROM feedback f JOIN requests r
          ON r.id = f.request AND f.tenant IN ('', r.tenant)
          WHERE f.at > ? AND (? = '' OR r.model = ?) ORDER BY f.at DESC, f.id DESC LIMIT ?"""
        rows = self._ask(query, (since, model, model, limit))
        return [(_feedback(given), _request(asked)) for given, asked in reversed(rows)]

    def count(self, model: str, since: float) -> tuple[int, int]:
        """Return how many corrections and how many feedback entries were given on requests to `model` after `since`."""
        self.catch_up()
        query = """SELECT COALESCE(SUM(f.correction), 0), COUNT(*) FROM feedback f JOIN requests r
          ON r.id = f.request AND f.tenant IN ('', r.tenant)
          WHERE f.at > ? AND r.model = ?"""
        ((corrections, entries),) = self._ask(query, (since, model))
        return corrections, entries

    def catch_up(self) -> int:
        """Take in what the log has gained; return how many entries were read."""
        with self._lock:
            try:
                return sum(self._take(batch) for name in writers(self._root) for batch in self._new(name))
            except BaseException:
                self._cursors.clear()  # they may stand behind entries that were not kept
                raise

    def _new(self, writer: str) -> Iterator[tuple[tuple[Position, AnyEntry], ...]]:
        """Yield what `writer` has written since, in batches; the place in its file is remembered, not searched."""
        if writer not in self._cursors:
            row = self._database.execute("SELECT last FROM places WHERE writer = ?", (writer,)).fetchone()
            self._cursors[writer] = Cursor(self._root / writer, row[0] + 1 if row else 0)
        entries = self._cursors[writer].entries()
        while batch := tuple(itertools.islice(entries, BATCH)):
            yield batch

    def _take(self, batch: Iterable[tuple[Position, AnyEntry]]) -> int:
        """Enter a batch and the place it reaches in one transaction."""
        requests, feedback, places = [], [], dict[str, int]()
        count = 0
        for position, entry in batch:
            places[position.writer], count = position.index, count + 1
            if isinstance(entry, RequestEntry):
                if entry.tenant != HOUSE:
                    requests.append((entry.request_id, entry.tenant, entry.model, _encode(entry)))
            elif isinstance(entry, FeedbackEntry):
                packed = _encode(entry)
                row = (entry.feedback_id, entry.request_id, entry.tenant, entry.at, entry.has_correction, packed)
                feedback.append(row)
        if not count:
            return 0
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?)", requests)
                self._database.executemany("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?, ?)", feedback)
                self._database.executemany(
                    "INSERT INTO places VALUES (?, ?)"
                    " ON CONFLICT (writer) DO UPDATE SET last = MAX(last, excluded.last)",
                    places.items(),
                )
        except sqlite3.Error as error:
            raise self._explained(error) from error
        return count

    def _ask(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def _open(self) -> sqlite3.Connection:
        """Open the view; one that is damaged, or of an older form, is dropped and made again."""
        for attempt in (1, 2):
            try:
                database = sqlite3.connect(self._path, timeout=30, check_same_thread=False, isolation_level=None)
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=NORMAL")  # it can be made again
                (version,) = database.execute("PRAGMA user_version").fetchone()
                if version == _VERSION:
                    return database
                if version == 0:
                    database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT;")
                    return database
                database.close()
            except sqlite3.DatabaseError as error:
                if attempt == 2:
                    raise self._explained(error) from error
            for path in self._path.parent.glob(f"{self._path.name}*"):
                path.unlink(missing_ok=True)
        raise StoreError(f"view {self._path} cannot be made; delete it")

    def _explained(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"view {self._path}: {error}; free some space, or delete the file: it is made again")
