"""The tables in PostgreSQL, in a schema beside the catalog's: what several hosts share is folded once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenworks.core.errors import ConfigError, MissingExtraError, StoreError
from tokenworks.ledger.sql.database import CHUNK, Answer, Fold, ddl, form, place_sql, usage_sql
from tokenworks.ledger.sql.tables import COLUMNS, Kind, Row

if TYPE_CHECKING:
    import psycopg


class Postgres:
    """The tables in the schema `<the catalog's>_ledger`."""

    types: Mapping[Kind, str] = {
        "text": "text", "integer": "bigint", "real": "double precision", "boolean": "boolean", "json": "text",
    }  # fmt: skip

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # an extra, and slow to import
        except ImportError:
            raise MissingExtraError("views in PostgreSQL", "postgres") from None
        self._errors: type[Exception] = psycopg.Error
        with self._explained():
            self._database: psycopg.Connection[Any] = psycopg.connect(
                url.replace("+psycopg", "", 1), autocommit=True, application_name="tokenworks ledger"
            )
            row = self._database.execute("SELECT current_schema()").fetchone()
            self._schema = f"{row[0] if row else 'public'}_ledger"

    def prepare(self) -> None:
        """Make the tables; tables of another form, by another version, are dropped first."""
        with self._explained():
            self._database.execute("SELECT set_config('search_path', %s, false)", (f'"{self._schema}"',))
            if self._form() != form(self.types):
                with self._database.transaction():
                    # Two that make a schema at once would fail: they go one after the other.
                    self._database.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
                    if self._form() != form(self.types):
                        self._make()

    def drop(self) -> None:
        """Empty the tables."""
        with self._explained(), self._database.transaction():
            self._database.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
            self._make()

    @contextlib.contextmanager
    def fold(self) -> Iterator[Fold]:
        """Give a transaction; other folds wait, readers do not."""
        with self._explained(), self._database.transaction():
            self._database.execute("LOCK TABLE places IN EXCLUSIVE MODE")
            yield _PostgresFold(self._database)

    @contextlib.contextmanager
    def ask(self, query: str, values: Sequence[object] = ()) -> Iterator[Answer]:
        """Give the answer, in a transaction that cannot write."""
        text = query.replace("%", "%%").replace("?", "%s") if values else query
        try:
            with self._database.transaction():
                self._database.execute("SET TRANSACTION READ ONLY")
                with self._database.cursor("ledger_query") as cursor:  # named: rows come as they are read
                    cursor.itersize = CHUNK
                    cursor.execute(text.rstrip().rstrip(";").encode(), values or None)
                    yield Answer(tuple(one.name for one in cursor.description or ()), iter(cursor))
        except self._errors as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"query: {reason}; tables: {', '.join(COLUMNS)}") from None

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()

    def _form(self) -> str | None:
        there = self._database.execute("SELECT to_regclass(%s)", (f'"{self._schema}".form',)).fetchone()
        if there is None or there[0] is None:
            return None
        row = self._database.execute("SELECT name FROM form").fetchone()
        return str(row[0]) if row else None

    def _make(self) -> None:
        self._database.execute(f'DROP SCHEMA IF EXISTS "{self._schema}" CASCADE'.encode())
        self._database.execute(f'CREATE SCHEMA "{self._schema}"'.encode())
        for statement in ddl(self.types):
            self._database.execute(statement.encode())
        self._database.execute("CREATE TABLE form (name text NOT NULL)")
        self._database.execute("INSERT INTO form VALUES (%s)", (form(self.types),))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            reason = str(error).strip().splitlines()[0]
            raise StoreError(f"views in PostgreSQL: {reason}; check that it runs and store.catalog names it") from error


class _PostgresFold:
    """Adds rows within a transaction."""

    def __init__(self, database: psycopg.Connection[Any]) -> None:
        self._database = database

    def place(self, writer: str) -> int:
        row = self._database.execute("SELECT last FROM places WHERE writer = %s", (writer,)).fetchone()
        return -1 if row is None else int(row[0])

    def add(self, table: str, rows: Sequence[Row]) -> None:
        text = io.StringIO()
        for row in rows:
            text.write("\t".join(map(_copied, row)) + "\n")
        with self._database.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
            copy.write(text.getvalue())

    def add_usage(self, rows: Sequence[Row]) -> None:
        with self._database.cursor() as cursor:
            cursor.executemany(usage_sql("%s").encode(), [tuple(map(_without_nul, row)) for row in rows])

    def move(self, writer: str, index: int) -> None:
        self._database.execute(place_sql("%s").encode(), (writer, index))


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\ufffd"})


def _copied(value: object) -> str:
    """Return a value as COPY reads it (PostgreSQL manual, COPY, "Text Format")."""
    if isinstance(value, str):
        return value.translate(_ESCAPES) if not value.isalnum() else value
    if value is None:
        return "\\N"
    return "t" if value is True else "f" if value is False else repr(value)


def _without_nul(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value  # PostgreSQL has none in text
