"""The rows of a table as a file: JSON lines, CSV or Parquet. The file is whole or not there."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from tokenworks.core.errors import ConfigError, StoreError
from tokenworks.core.files import sync_folder
from tokenworks.ledger.spending import day_of
from tokenworks.ledger.sql.duck import batches
from tokenworks.ledger.sql.tables import COLUMNS, Row
from tokenworks.ledger.sql.views import Views

Format = Literal["jsonl", "csv", "parquet"]
Where = tuple[str, tuple[object, ...]]
_encode = msgspec.json.Encoder().encode


def export(views: Views, table: str, path: Path, form: Format, *, since: float | None = None) -> int:
    """Write the rows of `table`, of entries at or after `since` (Unix time), to `path`; return how many.

    Raises `ConfigError` for a table that there is not, `StoreError` where the file cannot be written.
    """
    if table not in COLUMNS:
        raise ConfigError(f"--view {table}: there is no such table; there are: {', '.join(COLUMNS)}")
    where = _where(table, since)
    writers: dict[Format, Callable[[Views, str, Where, BinaryIO], int]] = {
        "jsonl": _jsonl,
        "csv": _csv,
        "parquet": _parquet,
    }
    try:
        with _replacing(path) as file:
            return writers[form](views, table, where, file)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; nothing was left there") from error


def _where(table: str, since: float | None) -> Where:
    columns = [column.name for column in COLUMNS[table]]
    if table == "usage":
        return ("WHERE day >= ? ORDER BY day, tenant, key_id, model", (day_of(since or 0.0),))
    assert "at" in columns, "every entry has a time"
    return ("WHERE at >= ? ORDER BY at, writer, idx", (since if since is not None else 0.0,))


def _rows(views: Views, table: str, where: Where) -> Iterator[Row]:
    """Yield the rows with truth values as such: SQLite knows none."""
    columns = COLUMNS[table]
    names = ", ".join(f'"{column.name}"' for column in columns)
    truths = [place for place, column in enumerate(columns) if column.kind == "boolean"]
    with views.ask(f"SELECT {names} FROM {table} {where[0]}", where[1]) as found:
        for row in found.rows:
            values = list(row)
            for place in truths:
                values[place] = None if values[place] is None else bool(values[place])
            yield tuple(values)


def _jsonl(views: Views, table: str, where: Where, file: BinaryIO) -> int:
    columns, count = COLUMNS[table], 0
    for row in _rows(views, table, where):
        values = {
            column.name: msgspec.Raw(value.encode()) if column.kind == "json" and value is not None else value
            for column, value in zip(columns, row, strict=True)
        }
        file.write(_encode(values) + b"\n")
        count += 1
    return count


def _csv(views: Views, table: str, where: Where, file: BinaryIO) -> int:
    import io

    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow([column.name for column in COLUMNS[table]])
    count = 0
    for row in _rows(views, table, where):
        writer.writerow(row)
        count += 1
    text.detach()
    return count


def _parquet(views: Views, table: str, where: Where, file: BinaryIO) -> int:
    with batches(views, table, *where) as reader:
        import pyarrow.parquet  # an extra: what is missing was said by `batches`

        with pyarrow.parquet.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            return sum(_written(writer, batch) for batch in reader)


def _written(writer: Any, batch: Any) -> int:
    writer.write_batch(batch)
    return int(batch.num_rows)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
