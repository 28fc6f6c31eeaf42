"""The contract of a reader: bytes of one file -> texts, or a word on why not.

A reader is a file in `readers/` with `SUFFIXES` (lower case, with the dot; '' claims files without one), `MEDIA_TYPE`,
`VERSION` (bump it when its texts change) and `read(stream, path, limits)`. It never opens a path itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.line.ingest.params import Limits


class RawDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One text as it was read."""

    text: str
    part: str = ""  # which piece of the file: '' for all of it, '#3' for row 3
    title: str = ""
    label: str = ""  # what the document says of itself, as written
    licence: str = ""
    media_type: str = ""  # empty: the reader's
    encoding: str = "utf-8"


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a file that is set aside while the rest is read."""

    part: str
    reason: str
    detail: str = ""


class UnreadableError(DataError):
    """A file cannot be read as what it claims to be; what was yielded before stays."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Reader(Protocol):
    """What `parts.load(READERS, name)` returns."""

    SUFFIXES: tuple[str, ...]
    MEDIA_TYPE: str
    VERSION: str

    def read(self, stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument | Rejected]:
        """Yield the texts of `stream` (seekable, at 0); `path` is for names and suffixes only."""
        ...


READERS = "tokenworks.line.ingest.readers"


def read_whole(stream: BinaryIO, limits: Limits) -> bytes:
    """Return all bytes of `stream`; raise `UnreadableError` where they exceed `limits.file_bytes`."""
    data = stream.read(limits.file_bytes + 1)
    if len(data) > limits.file_bytes:
        raise UnreadableError("too-large", f"more than {limits.file_bytes >> 20} MiB, and the format is read whole")
    return data
