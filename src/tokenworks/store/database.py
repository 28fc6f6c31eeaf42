"""One door to the database: transactions, dialects, and errors an operator can act on. Knows no noun."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Row, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from tokenworks.core.errors import MissingExtraError, StoreError
from tokenworks.store.patience import give_up_after

T = TypeVar("T", bound=msgspec.Struct)
BUSY_S = 30.0  # how long SQLite waits for another writer
PATIENCE = {"connect_timeout": 3, "tcp_user_timeout": 3000}  # libpq's, for a server behind a cut network; ours to give
SILENCE_S = 10.0  # no statement of ours takes so long to be answered, unless the server is held
AWAY_S = 1.0


class Database:
    """SQLite or PostgreSQL, by URL."""

    def __init__(self, url: str, *, silence_s: float = SILENCE_S) -> None:
        self.engine = _engine(url, silence_s)
        self._away_until, self._away = 0.0, ""
        self.place = self.engine.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction: all that is done inside happens, or nothing."""
        with self._explained(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state and blocks no writer."""
        with self._explained(), self.engine.connect().execution_options(reads_only=True) as connection:
            yield connection

    def hold(self, connection: Connection, table: Table) -> None:
        """Keep other writers out of `table` until the transaction ends; SQLite's writers are alone anyway."""
        if self.engine.dialect.name == "postgresql":
            connection.execute(text(f'LOCK TABLE "{table.name}" IN EXCLUSIVE MODE'))

    def upsert(self, connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
        """Insert a row, or replace the one with the same primary key."""
        insert = self.insert(table).values(values)
        keys = [column.name for column in table.primary_key]
        rest = {name: insert.excluded[name] for name in values if name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=rest))

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """Return an insert that can say what to do on a conflict."""
        return postgresql.insert(table) if self.engine.dialect.name == "postgresql" else sqlite.insert(table)

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the database says into what an operator can do.

        A server that cannot be reached is not asked again for a moment: else all would wait, one after the other.
        """
        if time.monotonic() < self._away_until:
            raise StoreError(self._away)
        try:
            yield
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else str(error)
            told = f"catalog {self.place}: {reason}; {_way_out(reason)}"
            if self.engine.dialect.name == "postgresql" and _is_away(error):
                self._away_until, self._away = time.monotonic() + AWAY_S, told
            raise StoreError(told) from error


def to_row(struct: msgspec.Struct, *, as_json: Sequence[str] = ()) -> dict[str, Any]:
    """Return the struct's fields as column values; those named in `as_json` as JSON text."""
    row = msgspec.structs.asdict(struct)
    for name in as_json:
        row[name] = msgspec.json.encode(row[name], order="deterministic").decode()
    return row


def from_row(row: Row[Any], into: type[T], *, as_json: Sequence[str] = ()) -> T:
    """Return the row as an `into`, leaving out columns that it does not have."""
    values = {name: row._mapping[name] for name in into.__struct_fields__ if name in row._mapping}
    for name in as_json:
        values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, into)


def _engine(url: str, silence_s: float) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise StoreError(f"store.catalog {url!r}: sqlite:///PATH and postgresql+psycopg://... are understood")
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        if parsed.get_backend_name() == "postgresql":
            patience = {name: value for name, value in PATIENCE.items() if name not in parsed.query}
            engine = create_engine(parsed, pool_pre_ping=True, connect_args=patience)
            give_up_after(engine, silence_s)
        else:
            engine = create_engine(parsed)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(f"store.catalog {url!r}: {error}; write sqlite:///PATH or postgresql+psycopg://...") from None
    except ImportError:
        raise MissingExtraError("a catalog in PostgreSQL", "postgres") from None
    except OSError as error:
        raise StoreError(f"store.catalog {url!r}: {error.strerror}: mend the permissions or free some space") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _is_away(error: DBAPIError) -> bool:
    """Return whether the server could not be reached, or is going: not where it refused what was asked."""
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(error, OperationalError) and (state is None or state.startswith(("08", "57P")))


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late: see _begin_sqlite
    for pragma in (f"busy_timeout={int(BUSY_S * 1000)}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: upgrading a reader's lock later fails without waiting.
    reads_only = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def _way_out(reason: str) -> str:
    known = {
        "locked": "another process holds it for too long: stop that one, then try again",
        "full": "the disk is full: free some space, then try again; nothing was half-written",
        "disk i/o": "the disk is full or failing: check it, then try again; nothing was half-written",
        "unable to open": "check the path and its permissions in store.catalog",
        "readonly": "mend the permissions of the file and its folder",
        "not a database": "the file is damaged or no catalog: restore it from a backup or move it aside",
        "malformed": "the file is damaged: restore it from a backup",
        "connection": "check that the database server runs and that store.catalog names it rightly",
    }
    return next((hint for mark, hint in known.items() if mark in reason.lower()), "check store.catalog")
