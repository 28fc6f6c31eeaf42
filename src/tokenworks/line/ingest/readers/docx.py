"""Word documents by mammoth: paragraphs, headings, lists and tables."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from tokenworks.core.errors import MissingExtraError
from tokenworks.line.ingest.markup import to_text
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, UnreadableError, read_whole
from tokenworks.line.ingest.zips import refuse_bomb

SUFFIXES = (".docx", ".docm")
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
VERSION = "1"


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument]:
    """Yield the document as one text; raise `UnreadableError` where it is damaged or protected."""
    try:
        import mammoth  # an extra: 40 MB with its dependencies
    except ImportError:
        raise MissingExtraError("reading .docx", "docs") from None

    data = read_whole(stream, limits)
    refuse_bomb(data, limits)
    try:
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=mammoth.images.img_element(_no_image)).value
    except (KeyError, ValueError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        raise UnreadableError("damaged", f"not a Word document: {type(error).__name__}: {error}") from None
    _, text, _ = to_text(f"<body>{html}</body>")
    yield RawDocument(text=text)


def _no_image(image: object) -> dict[str, str]:
    return {"src": ""}
