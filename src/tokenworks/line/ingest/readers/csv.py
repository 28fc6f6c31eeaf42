"""Tables as CSV. With a text column every row is a document '#n'; without one the table is, in pieces of its rows."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from tokenworks.line.ingest.decode import decode
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, Rejected, UnreadableError

SUFFIXES = (".csv", ".tsv")
MEDIA_TYPE = "text/csv"
VERSION = "1"
TEXT_COLUMNS = ("text", "content", "body", "document", "message", "description")
TITLE_COLUMNS = ("title", "subject", "name", "headline")
_PIECE_CHARS = 1 << 16  # of a table without a text column: a sheet that a person could still read
_SNIFF_BYTES = 1 << 16


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument | Rejected]:
    """Yield rows or pieces in order, holding one at a time."""
    head = stream.read(_SNIFF_BYTES)
    complete = len(head) < _SNIFF_BYTES
    sample, encoding = decode(head if complete else head[: head.rfind(b"\n") + 1] or head)
    if encoding == "utf-8-damaged" and not complete:
        encoding = "utf-8"  # the sample may end inside a character
    stream.seek(0)
    codec = {"utf-8": "utf-8-sig", "utf-8-damaged": "utf-8-sig"}.get(encoding, encoding)
    codecs.lookup(codec)
    table = io.TextIOWrapper(stream, encoding=codec, errors="replace", newline="")
    csv.field_size_limit(limits.line_bytes)
    rows = csv.reader(_bounded(table, limits), _dialect(sample, path))
    try:
        yield from _documents(rows, encoding, limits)
    except csv.Error as error:
        raise UnreadableError("damaged", f"line {rows.line_num}: {error}") from None
    finally:
        table.detach()  # the stream belongs to the caller


def _documents(rows: Iterator[list[str]], encoding: str, limits: Limits) -> Iterator[RawDocument]:
    header = next(rows, [])
    names = [name.strip().lower() for name in header]
    text_at = next((names.index(name) for name in TEXT_COLUMNS if name in names), None)
    title_at = next((names.index(name) for name in TITLE_COLUMNS if name in names), None)
    if text_at is None:
        yield from _pieces(header, rows, encoding)
        return
    for number, row in enumerate(rows, 1):
        if text_at < len(row):
            title = row[title_at] if title_at is not None and title_at < len(row) else ""
            yield RawDocument(text=row[text_at], part=f"#{number}", title=title, encoding=encoding)


def _pieces(header: list[str], rows: Iterator[list[str]], encoding: str) -> Iterator[RawDocument]:
    head = " | ".join(header)
    lines, size, number = [head], len(head), 0
    for row in rows:
        line = " | ".join(row)
        if size + len(line) > _PIECE_CHARS and len(lines) > 1:
            number += 1
            yield RawDocument(text="\n".join(lines), part=f"#{number}", encoding=encoding)
            lines, size = [head], len(head)
        lines.append(line)
        size += len(line) + 1
    part = f"#{number + 1}" if number else ""
    yield RawDocument(text="\n".join(lines), part=part, encoding=encoding)


def _bounded(table: io.TextIOWrapper, limits: Limits) -> Iterator[str]:
    """Yield lines, never holding one longer than the limit."""
    while line := table.readline(limits.line_bytes + 1):
        if len(line) > limits.line_bytes:
            raise UnreadableError("line-too-long", f"a line of more than {limits.line_bytes} characters")
        yield line


def _dialect(sample: str, path: str) -> type[csv.Dialect]:
    """Take the delimiter that the first line has most of: `csv.Sniffer` guesses letters on prose."""
    first = sample.split("\n", 1)[0]
    best = "\t" if path.lower().endswith(".tsv") else max(",;\t|", key=first.count)

    class Found(csv.excel):
        delimiter = best

    return Found
