"""Plain text. A large file is read as a stream and split at line ends; one endless line is no text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from tokenworks.line.ingest.decode import decode
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, UnreadableError

SUFFIXES = (".txt", ".text", ".log", ".rst", ".adoc", ".asciidoc", ".org", ".vtt", ".srt", ".tex", "")
MEDIA_TYPE = "text/plain"
VERSION = "1"


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument]:
    """Yield the whole text, or pieces '#1', '#2', ... of at most `limits.document_bytes`."""
    for part, data in pieces(stream, limits):
        text, encoding = decode(data)
        yield RawDocument(text=text, part=part, encoding=encoding)


def pieces(stream: BinaryIO, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Yield ('', all bytes) of a file that fits, else ('#n', bytes up to a line end), holding one piece at a time."""
    block = stream.read(limits.document_bytes + 1)
    if len(block) <= limits.document_bytes:
        yield "", block
        return
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableError("too-large", "UTF-16 text is read whole; convert it to UTF-8 or split it")
    number = 0
    while block:
        cut = block.rfind(b"\n") + 1 if len(block) > limits.document_bytes else len(block)
        if not cut or len(block) - cut > limits.line_bytes:
            raise UnreadableError("line-too-long", f"a line of more than {min(limits.line_bytes, len(block))} bytes")
        number += 1
        yield f"#{number}", block[:cut]
        rest = block[cut:]
        block = rest + stream.read(limits.document_bytes + 1 - len(rest))
