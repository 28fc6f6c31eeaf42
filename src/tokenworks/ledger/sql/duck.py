"""A query in DuckDB: the tables that it names are taken out of the view, and nothing else can be read."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.ledger.sql.database import Answer
from tokenworks.ledger.sql.tables import COLUMNS, Column, Kind, Row
from tokenworks.ledger.sql.views import Views

if TYPE_CHECKING:
    import duckdb
    import pyarrow

EXTRA = "analytics"
ROWS = 50_000  # in one batch of columns


@contextlib.contextmanager
def ask(views: Views, query: str) -> Iterator[Answer]:
    """Give the answer to one query. Raises `ConfigError` for one that is wrong, `MissingExtraError` without DuckDB."""
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError("queries in DuckDB", EXTRA) from None
    with duckdb.connect() as database:
        try:
            # Every word that is a table's name: DuckDB's own get_table_names refuses joins of tables not made yet.
            for name in sorted(set(re.findall(r"\w+", query.lower())) & COLUMNS.keys()):
                with batches(views, name) as reader:
                    _filled(database, name, reader)
            # A query must not reach files, the network or Python's variables.
            database.execute("SET python_enable_replacements = false")
            database.execute("SET enable_external_access = false")
            database.execute("SET lock_configuration = true")
            found = database.execute(query)
            yield Answer(tuple(one[0] for one in found.description or ()), iter(found.fetchone, None))
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"query: {reason}; {_hint(reason, query)}tables: {', '.join(COLUMNS)}") from None


def _hint(reason: str, query: str) -> str:
    """Return what helps where a column's name is a word of DuckDB's language, and of no other database's here."""
    if "syntax error" in reason and re.search(r'(?<![\w."])at(?![\w"])', query, re.IGNORECASE):
        return 'the column at is a word of DuckDB\'s own: write "at", or --engine database; '
    return ""


def _filled(database: duckdb.DuckDBPyConnection, name: str, reader: pyarrow.RecordBatchReader) -> None:
    """Make a table of what is read, batch by batch: DuckDB reads a stream in another thread, SQLite does not."""
    database.register("_batch", reader.schema.empty_table())
    database.execute(f"CREATE TABLE {name} AS SELECT * FROM _batch")
    for batch in reader:
        database.register("_batch", batch)
        database.execute(f"INSERT INTO {name} SELECT * FROM _batch")
    database.unregister("_batch")


@contextlib.contextmanager
def batches(views: Views, table: str, where: str = "", values: tuple[object, ...] = ()) -> Iterator[Any]:
    """Give the rows of a table as a reader of Arrow record batches."""
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("columns of the ledger", EXTRA) from None
    columns = COLUMNS[table]
    schema = _schema(columns)
    names = ", ".join(f'"{column.name}"' for column in columns)
    with views.ask(f"SELECT {names} FROM {table} {where}", values) as found:

        def made() -> Iterator[pyarrow.RecordBatch]:
            while rows := list(itertools.islice(found.rows, ROWS)):
                yield _batch(columns, schema, rows)

        yield pyarrow.RecordBatchReader.from_batches(schema, made())


def _schema(columns: tuple[Column, ...]) -> pyarrow.Schema:
    import pyarrow

    types: dict[Kind, Any] = {
        "text": pyarrow.string(), "json": pyarrow.string(), "integer": pyarrow.int64(), "real": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
    }  # fmt: skip
    return pyarrow.schema([(column.name, types[column.kind]) for column in columns])


def _batch(columns: tuple[Column, ...], schema: pyarrow.Schema, rows: list[Row]) -> pyarrow.RecordBatch:
    import pyarrow

    arrays = []
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        kept = [None if one is None else bool(one) for one in values] if column.kind == "boolean" else values
        arrays.append(pyarrow.array(kept, type=schema.field(column.name).type))
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)
