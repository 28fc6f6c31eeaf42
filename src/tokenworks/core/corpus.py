"""Documents on disk: numbered parts of compressed JSON lines, read and written as a stream."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import zstandard

from tokenworks.core.document import Document

PART_BYTES = 8 << 20  # of JSON before compression
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Document).decode


def write_parts(folder: Path, documents: Iterable[Document], *, part_bytes: int = PART_BYTES) -> int:
    """Write `documents` in the order given as `part-00000.jsonl.zst`, ...; return how many there were.

    Equal documents give equal bytes: no time and no machine enters the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = part = size = 0
    lines: list[bytes] = []
    for document in documents:
        line = _encode(document) + b"\n"
        if lines and size + len(line) > part_bytes:
            _write(folder, part, lines)
            part, size, lines = part + 1, 0, []
        lines.append(line)
        size += len(line)
        count += 1
    if lines:
        _write(folder, part, lines)
    return count


def read_parts(folder: Path) -> Iterator[Document]:
    """Yield the documents of `folder` in order, holding one at a time."""
    for path in sorted(folder.glob("part-*.jsonl.zst")):
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            for line in io.BufferedReader(stream, 1 << 20):
                yield _decode(line)


def _write(folder: Path, part: int, lines: list[bytes]) -> None:
    data = zstandard.ZstdCompressor(level=3, write_content_size=True).compress(b"".join(lines))
    (folder / f"part-{part:05d}.jsonl.zst").write_bytes(data)
