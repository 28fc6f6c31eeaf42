"""Where the tables lie: a file of SQLite. What is asked of any database that may hold them stands here too."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tokenworks.core.errors import ConfigError, StoreError
from tokenworks.ledger.sql.tables import COLUMNS, USAGE_KEY, USAGE_SUMS, Kind, Row

BUSY_S = 30.0
CHUNK = 10_000  # rows that a long answer is read by


class Answer(NamedTuple):
    """The rows of a query, read as they are needed."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


class Fold(Protocol):
    """The tables while one process alone may add to them."""

    def place(self, writer: str) -> int:
        """Return the index of the writer's last entry that is in the tables, -1 for none."""
        ...

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows of entries."""
        ...

    def add_usage(self, rows: Sequence[Row]) -> None:
        """Add to the sums."""
        ...

    def move(self, writer: str, index: int) -> None:
        """Remember up to where a writer's entries are in."""
        ...


class Database(Protocol):
    """A database that holds the tables."""

    def prepare(self) -> None:
        """Make the tables; tables of another form, by another version, are dropped first."""
        ...

    def drop(self) -> None:
        """Empty the tables."""
        ...

    def fold(self) -> contextlib.AbstractContextManager[Fold]:
        """Give a transaction: all that is added inside is there, with its place, or nothing."""
        ...

    def ask(self, query: str, values: Sequence[object] = ()) -> contextlib.AbstractContextManager[Answer]:
        """Give the answer to one statement that changes nothing. `?` stands for a value."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def ddl(types: Mapping[Kind, str]) -> list[str]:
    """Return what makes the tables."""
    made = []
    for name, columns in COLUMNS.items():
        key = [column.name for column in USAGE_KEY] if name == "usage" else ["writer", "idx"]
        listed = ", ".join(f'"{column.name}" {types[column.kind]}' for column in columns)
        made.append(f"CREATE TABLE {name} ({listed}, PRIMARY KEY ({', '.join(key)}))")
    made += ["CREATE INDEX requests_at ON requests (at)", "CREATE INDEX feedback_at ON feedback (at)"]
    return [*made, f"CREATE TABLE places (writer {types['text']} PRIMARY KEY, last {types['integer']} NOT NULL)"]


def form(types: Mapping[Kind, str]) -> str:
    """Return what tells tables of this version from those of another."""
    return hashlib.sha256("\n".join(ddl(types)).encode()).hexdigest()[:16]


def add_sql(table: str, columns: int, mark: str) -> str:
    """Return the statement that adds a row."""
    return f"INSERT INTO {table} VALUES ({', '.join([mark] * columns)})"


def usage_sql(mark: str) -> str:
    """Return the statement that adds to a row of sums."""
    sums = ", ".join(f"{column.name} = usage.{column.name} + excluded.{column.name}" for column in USAGE_SUMS)
    key = ", ".join(column.name for column in USAGE_KEY)
    return f"{add_sql('usage', len(USAGE_KEY) + len(USAGE_SUMS), mark)} ON CONFLICT ({key}) DO UPDATE SET {sums}"


def place_sql(mark: str) -> str:
    """Return the statement that moves a writer's place."""
    return f"INSERT INTO places VALUES ({mark}, {mark}) ON CONFLICT (writer) DO UPDATE SET last = excluded.last"


class Sqlite:
    """The tables in the file at `path`; any number of processes and threads may ask."""

    types: Mapping[Kind, str] = {
        "text": "TEXT", "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "json": "TEXT",
    }  # fmt: skip

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._database = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")  # what a power cut undoes is folded again

    def prepare(self) -> None:
        """Make the tables; tables of another form, by another version, are dropped first."""
        with self._explained():
            if self._form() != form(self.types):
                with self._transaction():
                    if self._form() != form(self.types):  # another process may have made them while we waited
                        self._make()

    def drop(self) -> None:
        """Empty the tables."""
        with self._explained(), self._transaction():
            self._make()

    @contextlib.contextmanager
    def fold(self) -> Iterator[Fold]:
        """Give a transaction."""
        with self._explained(), self._transaction():
            yield _SqliteFold(self._database)

    @contextlib.contextmanager
    def ask(self, query: str, values: Sequence[object] = ()) -> Iterator[Answer]:
        """Give the answer, read on a connection that cannot write."""
        with self._explained():
            reader = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            reader.set_authorizer(_only_reads)
            cursor = reader.execute(query, values)
            if cursor.description is None:
                raise ConfigError("the query returns nothing; write a SELECT")
            yield Answer(tuple(one[0] for one in cursor.description), cursor)
        except sqlite3.Error as error:
            raise ConfigError(f"query: {error}; tables: {', '.join(COLUMNS)}") from None
        finally:
            reader.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _form(self) -> str | None:
        there = self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'form'").fetchone()
        return self._database.execute("SELECT name FROM form").fetchone()[0] if there else None

    def _make(self) -> None:
        for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            self._database.execute(f'DROP TABLE "{name}"')
        for statement in ddl(self.types):
            self._database.execute(statement)
        self._database.execute("CREATE TABLE form (name TEXT NOT NULL)")
        self._database.execute("INSERT INTO form VALUES (?)", (form(self.types),))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"view {self._path}: {error}; it holds nothing that the log does not: free some space, or delete it"
            ) from error


class _SqliteFold:
    """Adds rows within a transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def place(self, writer: str) -> int:
        row = self._database.execute("SELECT last FROM places WHERE writer = ?", (writer,)).fetchone()
        return -1 if row is None else int(row[0])

    def add(self, table: str, rows: Sequence[Row]) -> None:
        self._database.executemany(add_sql(table, len(COLUMNS[table]), "?"), rows)

    def add_usage(self, rows: Sequence[Row]) -> None:
        self._database.executemany(usage_sql("?"), rows)

    def move(self, writer: str, index: int) -> None:
        self._database.execute(place_sql("?"), (writer, index))


_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33}  # 33: SQLITE_RECURSIVE


def _only_reads(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY
