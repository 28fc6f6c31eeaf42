"""Exact and near copies, found with an index on disk: memory does not grow with the corpus."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import msgspec
import numpy as np

from tokenworks.core.label import Label
from tokenworks.line.curate.signatures import BANDS, ROWS, Signatures, similarity

_SCHEMA = """
CREATE TABLE texts (hash BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE bands (band INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE kept (number INTEGER PRIMARY KEY, name TEXT NOT NULL, signature BLOB, label INTEGER NOT NULL,
                   raised INTEGER NOT NULL);
"""
_CACHE_KIB = 65_536  # of the index in memory, whatever its size


class Copy(msgspec.Struct, frozen=True):
    """That a document says what another one said before."""

    of: str
    similarity: float
    exact: bool


class CopyIndex:
    """Holds what has been kept so far; the first of several copies stays, under the highest label of them all."""

    def __init__(self, path: Path, threshold: float) -> None:
        path.unlink(missing_ok=True)
        self._threshold = threshold
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def add(self, number: int, name: str, text: str, signature: Signatures | None, label: Label) -> Copy | None:
        """Keep document `number` and return None, or return which kept one it repeats."""
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()[:16]
        same = self._db.execute("SELECT number FROM texts WHERE hash = ?", (digest,)).fetchone()
        if same:
            return Copy(self._absorb(same[0], label), 1.0, exact=True)
        bands = [] if signature is None else band_keys(signature)
        if signature is not None and (near := self._nearest(bands, signature)):
            return Copy(self._absorb(near[0], label), near[1], exact=False)
        self._db.execute("INSERT INTO texts VALUES (?, ?)", (digest, number))
        self._db.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", [(band, number) for band in bands])
        stored = None if signature is None else signature.tobytes()
        self._db.execute("INSERT INTO kept VALUES (?, ?, ?, ?, 0)", (number, name, stored, int(label)))
        return None

    def _nearest(self, bands: list[int], signature: Signatures) -> tuple[int, float] | None:
        marks = ",".join("?" * len(bands))
        rows = self._db.execute(
            f"SELECT DISTINCT k.number, k.signature FROM bands b JOIN kept k USING (number) WHERE b.band IN ({marks})",
            bands,
        )
        near = [(similarity(signature, np.frombuffer(stored, dtype=np.uint32)), -number) for number, stored in rows]
        best, number = max(near, default=(0.0, 0))
        return (-number, best) if best >= self._threshold else None

    def _absorb(self, number: int, label: Label) -> str:
        """Raise the label of the kept document to that of its copy; return its name."""
        self._db.execute(
            "UPDATE kept SET label = ?1, raised = 1 WHERE number = ?2 AND label < ?1", (int(label), number)
        )
        return str(self._db.execute("SELECT name FROM kept WHERE number = ?", (number,)).fetchone()[0])

    def label_of(self, number: int) -> Label | None:
        """Return the label that document `number` is kept under, or None where it is not kept."""
        row = self._db.execute("SELECT label FROM kept WHERE number = ?", (number,)).fetchone()
        return Label(row[0]) if row else None

    def raised(self) -> int:
        """Return how many kept documents took a higher label from a copy."""
        return int(self._db.execute("SELECT count(*) FROM kept WHERE raised").fetchone()[0])

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def band_keys(signature: Signatures) -> list[int]:
    """Return a signed 64-bit key for each band: the rows of the band and its number, hashed."""
    rows = signature.reshape(BANDS, ROWS)
    return [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, salt=bytes([band])).digest(), signed=True)
        for band, row in enumerate(rows)
    ]
