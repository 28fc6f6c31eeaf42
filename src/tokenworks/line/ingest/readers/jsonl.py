"""JSON lines: every row is a document '#n'; a row that is no JSON is set aside alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from tokenworks.line.ingest.decode import refuse_binary
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, Rejected, UnreadableError

SUFFIXES = (".jsonl", ".ndjson")
MEDIA_TYPE = "application/jsonl"
VERSION = "1"
TEXT_KEYS = ("text", "content", "body", "document", "completion")
TITLE_KEYS = ("title", "subject", "name", "headline")
_decode = msgspec.json.Decoder().decode


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument | Rejected]:
    """Yield a document a row: its text field, its chat messages, or all its fields as 'key: value' lines."""
    number = 0
    while line := stream.readline(limits.line_bytes + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            refuse_binary(line)
        if len(line) > limits.line_bytes:
            raise UnreadableError("line-too-long", f"row {number} has more than {limits.line_bytes} bytes")
        if line.strip():
            yield _row(line, f"#{number}")


def _row(line: bytes, part: str) -> RawDocument | Rejected:
    try:
        row = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejected(part=part, reason="damaged", detail=f"not JSON: {error}")
    if not isinstance(row, dict):
        return RawDocument(text=row if isinstance(row, str) else line.decode("utf-8", "replace").strip(), part=part)
    title = next((row[key] for key in TITLE_KEYS if isinstance(row.get(key), str)), "")
    return RawDocument(text=_text(row), part=part, title=title)


def _text(row: dict[str, Any]) -> str:
    for key in TEXT_KEYS:
        if isinstance(row.get(key), str):
            return str(row[key])
    if isinstance(row.get("messages"), list):
        turns = [turn for turn in row["messages"] if isinstance(turn, dict)]
        return "\n\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in turns)
    return "\n".join(f"{key}: {_plain(value)}" for key, value in row.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
