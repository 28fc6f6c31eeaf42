"""Which request was first under an idempotency key: in one SQLite file, so that a restart changes nothing.

No texts are here: an answer is given again from the bodies that the ledger's house keeps, by the id of the request.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tokenworks.core.errors import StoreError
from tokenworks.core.files import try_locked
from tokenworks.core.ids import new_id

KEPT_S = 86_400.0
MOST = 200_000  # keys of a house; the oldest of who has the most are forgotten before their time
SWEEP = 256  # claims between two looks for old ones
_TABLE = """CREATE TABLE IF NOT EXISTS first (
  who TEXT, key TEXT, digest TEXT, request TEXT, owner TEXT, at REAL, PRIMARY KEY (who, key)
) WITHOUT ROWID"""


class First(NamedTuple):
    """The request that was first."""

    digest: str  # of what it asked
    request_id: str
    owner: str  # the process that took it up


class Remembered:
    """The keys of one house. Any number of processes and threads may ask."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._lock = threading.Lock()
        self._claims = 0
        self.owner = new_id("own")
        self._alive = self._place(self.owner).open("a")
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        with self._explained():
            self._rows = sqlite3.connect(root / "keys.db", timeout=5.0, check_same_thread=False, isolation_level=None)
            self._rows.execute("PRAGMA journal_mode=WAL")
            self._rows.execute(_TABLE)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._rows.close()
            self._place(self.owner).unlink(missing_ok=True)
            self._alive.close()

    def claim(self, who: str, key: str, digest: str, request_id: str, *, at: float) -> First | None:
        """Enter a request under `key`, durably, and return None; or return the one that was first."""
        with self._transaction():
            self._sweep(at)
            found = self._rows.execute(
                "SELECT digest, request, owner FROM first WHERE who = ? AND key = ? AND at > ?", (who, key, at - KEPT_S)
            ).fetchone()
            if found is not None:
                return First(*found)
            self._rows.execute(
                "INSERT OR REPLACE INTO first VALUES (?, ?, ?, ?, ?, ?)", (who, key, digest, request_id, self.owner, at)
            )
            return None

    def take_over(self, who: str, key: str, first: First, request_id: str, *, at: float) -> bool:
        """Enter a request in the place of one that has no answer; return False where another did before."""
        with self._transaction():
            done = self._rows.execute(
                "UPDATE first SET request = ?, owner = ?, at = ? WHERE who = ? AND key = ? AND request = ?",
                (request_id, self.owner, at, who, key, first.request_id),
            )
            return done.rowcount == 1

    def lives(self, owner: str) -> bool:
        """Return whether the process of that name still runs, on this host."""
        place = self._place(owner)
        if not place.exists():
            return False
        with try_locked(place) as dead:
            if dead:
                place.unlink(missing_ok=True)
            return not dead

    def _sweep(self, at: float) -> None:
        self._claims += 1
        if self._claims % SWEEP == 1:
            self._rows.execute("DELETE FROM first WHERE at <= ?", (at - KEPT_S,))
            (count,) = self._rows.execute("SELECT COUNT(*) FROM first").fetchone()
            if count > MOST:  # whoever has the most makes room: nobody's keys push out another's
                (who,) = self._rows.execute("SELECT who FROM first GROUP BY who ORDER BY COUNT(*) DESC").fetchone()
                self._rows.execute(
                    "DELETE FROM first WHERE (who, key) IN"
                    " (SELECT who, key FROM first WHERE who = ? ORDER BY at LIMIT ?)",
                    (who, count - MOST),
                )

    def _place(self, owner: str) -> Path:
        return self._root / f"{owner}.lock"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._explained():
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._rows.execute("COMMIT")
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"idempotency keys in {self._root} cannot be kept: {error}; see the disk") from error
