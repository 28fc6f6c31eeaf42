"""The index on disk: documents, passages, their words (FTS5) and vectors (float16), in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenworks.core.document import Document, part_of
from tokenworks.core.errors import DataError, IntegrityError
from tokenworks.core.ids import content_id
from tokenworks.core.label import Label
from tokenworks.retrieval.chunks import embedding_text, passages

FILE = "index.db"
FORMAT = "1"  # of the tables and of the chunking; another one rebuilds the index from the corpus
WEIGHTS = "3.0, 2.0, 1.0"  # of a word in title, heading and text
SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, path TEXT NOT NULL, title TEXT NOT NULL,
    label INTEGER NOT NULL, content TEXT NOT NULL, UNIQUE (source, path)
);
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents (id), vector BLOB
);
CREATE INDEX IF NOT EXISTS passages_document ON passages (document);
CREATE INDEX IF NOT EXISTS passages_unfilled ON passages (id) WHERE vector IS NULL;
CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5 (title, heading, body, tokenize = 'porter unicode61');
"""


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What an update did, in documents."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0


class Row(NamedTuple):
    """A passage with its document."""

    document: int
    path: str
    source: str
    title: str
    heading: str
    text: str
    label: int


class Vectors(NamedTuple):
    """All vectors in memory, as of a version of the file."""

    version: int
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    matrix: NDArray[np.float32]


class Shelf:
    """One connection to the file. Writers hold the folder's lock; readers see the last finished step."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            self._sql = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=60)
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"{self._path}: {error}; delete it, the next update builds it again") from error

    def create(self) -> None:
        """Make the tables where they are missing; drop those of another format."""
        try:
            self._sql.executescript(SCHEMA)
            if self.note("format") not in ("", FORMAT):
                for table in ("notes", "passages", "documents", "texts"):
                    self._sql.execute(f"DELETE FROM {table}")
            self._note("format", FORMAT)
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"{self._path}: {error}; delete it, the next update builds it again") from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()

    def note(self, name: str) -> str:
        """Return the note `name`, empty where there is none."""
        row = self._sql.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _note(self, name: str, value: str) -> None:
        self._sql.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of documents, passages and vectors."""
        query = "SELECT (SELECT count(*) FROM documents), count(*), count(vector) FROM passages"
        documents, passages_, vectors = self._sql.execute(query).fetchone()
        return documents, passages_, vectors

    def replace_all(self, documents: Iterable[Document], corpus: str) -> Update:
        """Show exactly `documents` from now on: all of it happens, or nothing."""
        if corpus and self.note("corpus") == corpus:
            return Update(unchanged=self.counts()[0])
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            update = self._replace_all(documents)
            self._note("corpus", corpus)
            self._sql.execute("COMMIT")
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        return update

    def _replace_all(self, documents: Iterable[Document]) -> Update:
        known: dict[tuple[str, str], tuple[int, str]] = {
            (source, path): (number, content)
            for number, source, path, content in self._sql.execute("SELECT id, source, path, content FROM documents")
        }
        added = changed = unchanged = 0
        for document in documents:
            number, content = known.pop((document.source, document.path), (None, ""))
            new = content_id([document.title, document.label, document.text])
            if new == content:
                unchanged += 1
                continue
            kept = {} if number is None else self._remove(number)
            self._add(document, new, kept)
            added, changed = added + (number is None), changed + (number is not None)
        for number, _ in known.values():
            self._remove(number)
        return Update(added=added, changed=changed, removed=len(known), unchanged=unchanged)

    def _add(self, document: Document, content: str, kept: dict[str, bytes]) -> None:
        """Insert the document; passages whose embedded text is in `kept` take its vector."""
        label = int(Label.parse(document.label))
        values = (document.source, document.path, document.title, label, content)
        insert = "INSERT INTO documents (source, path, title, label, content) VALUES (?, ?, ?, ?, ?)"
        try:
            number = self._sql.execute(insert, values).lastrowid
        except sqlite3.IntegrityError as error:
            raise DataError(
                f"document {document.path!r} of source {document.source!r} comes twice in the corpus"
            ) from error
        for passage in passages(document):
            vector = kept.get(passage.with_context)
            row = self._sql.execute("INSERT INTO passages (document, vector) VALUES (?, ?)", (number, vector)).lastrowid
            words = (row, passage.title, passage.heading, passage.text)
            self._sql.execute("INSERT INTO texts (rowid, title, heading, body) VALUES (?, ?, ?, ?)", words)

    def _remove(self, number: int) -> dict[str, bytes]:
        """Delete a document; return the vectors of its passages by embedded text."""
        query = (
            "SELECT p.id, p.vector, t.title, t.heading, t.body FROM passages p JOIN texts t ON t.rowid = p.id"
            " WHERE p.document = ?"
        )
        rows = self._sql.execute(query, (number,)).fetchall()
        self._sql.executemany("DELETE FROM texts WHERE rowid = ?", [(row[0],) for row in rows])
        self._sql.execute("DELETE FROM passages WHERE document = ?", (number,))
        self._sql.execute("DELETE FROM documents WHERE id = ?", (number,))
        return {embedding_text(*row[2:]): row[1] for row in rows if row[1] is not None}

    def erase(self, source: str, path: str) -> int:
        """Delete the document, its parts and the members of it as an archive; return how many documents that were.

        No byte of them stays in the file: it is written anew, and the log of changes emptied.
        """
        query = "SELECT id, path FROM documents WHERE source = ?"
        numbers = [number for number, named in self._sql.execute(query, (source,)) if part_of(named, path)]
        self._sql.execute("BEGIN IMMEDIATE")
        for number in numbers:
            self._remove(number)
        self._note("corpus", "")  # what is shown is no longer that corpus
        self._sql.execute("COMMIT")
        self._sql.execute("INSERT INTO texts (texts) VALUES ('optimize')")  # deleted words stay in FTS5 until it merges
        self._sql.execute("VACUUM")
        self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(numbers)

    def use_model(self, model: str) -> None:
        """Drop all vectors if another model made them."""
        if self.note("model") == model:
            return
        self._sql.execute("BEGIN IMMEDIATE")
        self._sql.execute("UPDATE passages SET vector = NULL WHERE vector IS NOT NULL")
        self._note("model", model)
        self._sql.execute("COMMIT")

    def without_vector(self, most: int) -> dict[int, str]:
        """Return the embedded text of some passages that still have no vector, by passage."""
        query = (
            "SELECT p.id, t.title, t.heading, t.body FROM passages p JOIN texts t ON t.rowid = p.id"
            " WHERE p.vector IS NULL ORDER BY p.id LIMIT ?"
        )
        return {row[0]: embedding_text(*row[1:]) for row in self._sql.execute(query, (most,))}

    def put_vectors(self, rows: Iterable[tuple[int, NDArray[np.float32]]], model: str) -> None:
        """Keep the vectors of passages that still exist, unless another model has taken over meanwhile."""
        packed = [(vector.astype(np.float16).tobytes(), number) for number, vector in rows]
        self._sql.execute("BEGIN IMMEDIATE")
        if self.note("model") == model:
            self._sql.executemany("UPDATE passages SET vector = ? WHERE id = ?", packed)
        self._sql.execute("COMMIT")

    def text_ranking(self, expression: str, clearance: Label, most: int) -> list[int]:
        """Return the passages that match, best by BM25 first, none above `clearance`."""
        query = (
            "SELECT p.id FROM texts t JOIN passages p ON p.id = t.rowid JOIN documents d ON d.id = p.document"
            f" WHERE texts MATCH ? AND d.label <= ? ORDER BY bm25(texts, {WEIGHTS}), p.id LIMIT ?"
        )
        return [row[0] for row in self._sql.execute(query, (expression, int(clearance), most))]

    def vectors(self, cached: Vectors | None) -> Vectors:
        """Return all vectors; `cached` again where no other connection has written since."""
        (version,) = self._sql.execute("PRAGMA data_version").fetchone()
        if cached is not None and cached.version == version:
            return cached
        query = (
            "SELECT p.id, d.label, p.vector FROM passages p JOIN documents d ON d.id = p.document"
            " WHERE p.vector IS NOT NULL ORDER BY p.id"
        )
        rows = self._sql.execute(query).fetchall()
        matrix = np.frombuffer(b"".join(row[2] for row in rows), np.float16).astype(np.float32)
        ids, labels = (np.array([row[at] for row in rows], np.int64) for at in (0, 1))
        return Vectors(version, ids, labels, matrix.reshape(len(rows), -1) if rows else matrix.reshape(0, 0))

    def passage(self, number: int, clearance: Label) -> Row | None:
        """Return a passage, None where it is gone or above `clearance`."""
        query = (
            "SELECT d.id, d.path, d.source, d.title, t.heading, t.body, d.label FROM passages p"
            " JOIN documents d ON d.id = p.document JOIN texts t ON t.rowid = p.id WHERE p.id = ? AND d.label <= ?"
        )
        row = self._sql.execute(query, (number, int(clearance))).fetchone()
        return Row(*row) if row else None
