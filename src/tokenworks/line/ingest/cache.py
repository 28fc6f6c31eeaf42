"""Results per file content, on disk: what a second run, or a killed one, need not do again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tokenworks.core.errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, chunks INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (id INTEGER PRIMARY KEY, key TEXT NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS chunk_of ON chunks (key, seq);
CREATE TABLE IF NOT EXISTS seen (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, config TEXT NOT NULL, key TEXT NOT NULL
) WITHOUT ROWID;
"""
_NAME = "results-1.db"


class Cache:
    """Chunks of items by key; the key names content, reader and settings. Any process may read, one thread writes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _NAME
        try:
            self._connect()
        except sqlite3.DatabaseError:  # damaged: a cache may be dropped at any time
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self._connect()

    def _connect(self) -> None:
        self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Write what is pending and let go of the file."""
        self.commit()
        self._db.close()

    def put_chunk(self, key: str, seq: int, data: bytes) -> None:
        """Add a piece; the result does not count as there before `finish`."""
        self._begin()
        self._db.execute("INSERT OR REPLACE INTO chunks (key, seq, data) VALUES (?, ?, ?)", (key, seq, data))

    def finish(self, key: str, chunks: int) -> None:
        """Say that all `chunks` pieces of `key` are there."""
        self._begin()
        self._db.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, chunks))

    def remember(self, path: bytes, size: int, mtime_ns: int, config: str, key: str) -> None:
        """Say that the file of this path, size and time has the result `key`."""
        self._begin()
        self._db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", (path, size, mtime_ns, config, key))

    def recall(self, path: bytes, size: int, mtime_ns: int, config: str) -> str:
        """Return the key of an unchanged file whose result is complete, or ''."""
        row = self._db.execute(
            "SELECT s.key FROM seen s JOIN results r ON r.key = s.key "
            "WHERE s.path = ? AND s.size = ? AND s.mtime_ns = ? AND s.config = ?",
            (path, size, mtime_ns, config),
        ).fetchone()
        return str(row[0]) if row else ""

    def complete(self, key: str) -> bool:
        """Tell whether the result `key` is there."""
        return self._db.execute("SELECT 1 FROM results WHERE key = ?", (key,)).fetchone() is not None

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the pieces of `key` in order."""
        for (data,) in self._db.execute("SELECT data FROM chunks WHERE key = ? ORDER BY seq", (key,)):
            yield data

    def forget(self, path: bytes) -> None:
        """Delete what was read from the file at `path`, and every result that no file needs any more.

        No byte of it stays in the file of the cache. A copy of the file elsewhere keeps its result.
        """
        self.commit()
        with _explained(self.path):
            self._db.execute("DELETE FROM seen WHERE path = ?", (path,))
            # Earlier contents of the file are among those that nothing points to.
            self._db.execute("DELETE FROM results WHERE key NOT IN (SELECT key FROM seen)")
            self._db.execute("DELETE FROM chunks WHERE key NOT IN (SELECT key FROM seen)")
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def commit(self) -> None:
        """Make everything put so far survive a kill."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: {error}; documents are being read right now: try again when that is done") from error


class CacheReader:
    """What a worker asks of the cache: is this done already? Never writes, never creates."""

    def __init__(self, path: str) -> None:
        self._db: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.DatabaseError):
            self._db = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=60)

    def complete(self, key: str) -> bool:
        """Tell whether the result `key` is there; a cache that cannot be read holds nothing."""
        if self._db is None:
            return False
        with contextlib.suppress(sqlite3.DatabaseError):
            return self._db.execute("SELECT 1 FROM results WHERE key = ?", (key,)).fetchone() is not None
        return False
