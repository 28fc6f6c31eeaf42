"""HTML pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from tokenworks.line.ingest.decode import decode
from tokenworks.line.ingest.markup import to_text
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, read_whole

SUFFIXES = (".html", ".htm", ".xhtml")
MEDIA_TYPE = "text/html"
VERSION = "1"
_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w-]{1,40})""", re.I)


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument]:
    """Yield the page as one text."""
    data = read_whole(stream, limits)
    declared = _CHARSET.search(data, 0, 4096)
    html, encoding = decode(data, declared[1].decode("ascii") if declared else "")
    title, text, label = to_text(html)
    yield RawDocument(text=text, title=title, label=label, encoding=encoding)
