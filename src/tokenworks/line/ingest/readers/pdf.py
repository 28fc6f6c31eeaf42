"""PDF by PDFium: the text layer, page after page; running heads and feet are dropped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, UnreadableError, read_whole

SUFFIXES = (".pdf",)
MEDIA_TYPE = "application/pdf"
VERSION = "1"
_HYPHEN = re.compile("[\ufffe\x02]\\s*")  # PDFium's marks of a word broken at a line end
_DIGITS = re.compile(r"\d+")
_MARGIN_LINES = 2
_REPEATED = 0.6  # a margin line on this share of pages is a running head or foot


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument]:
    """Yield the text of all pages; raise `UnreadableError` where it is encrypted, damaged, or only pictures."""
    import pypdfium2 as pdfium  # loads a 6 MB native library: only where a PDF is read

    try:
        document = pdfium.PdfDocument(read_whole(stream, limits))
    except pdfium.PdfiumError as error:
        reason = "encrypted" if "password" in str(error).lower() else "damaged"
        raise UnreadableError(reason, str(error)) from None
    try:
        if len(document) > limits.pages:
            raise UnreadableError("too-large", f"{len(document)} pages; the limit is {limits.pages}")
        pages = [_page_lines(document, index) for index in range(len(document))]
        title = str(document.get_metadata_dict().get("Title") or "").strip()
    finally:
        document.close()
    text = "\n\n".join("\n".join(lines).strip() for lines in _without_margins(pages)).strip()
    if not text:
        raise UnreadableError("no-text", f"{len(pages)} pages without a text layer: scanned? run OCR first")
    yield RawDocument(text=text, title=title)


def _page_lines(document: Any, index: int) -> list[str]:
    page = document[index]
    textpage = page.get_textpage()
    try:
        raw = textpage.get_text_range()
    finally:
        textpage.close()
        page.close()
    return [line.rstrip() for line in _HYPHEN.sub("", raw.replace("\r\n", "\n").replace("\r", "\n")).split("\n")]


def _without_margins(pages: list[list[str]]) -> list[list[str]]:
    """Drop first and last lines that nearly every page repeats (numbers aside)."""
    if len(pages) < 4:
        return pages
    filled = [[line for line in page if line.strip()] for page in pages]
    seen = Counter(key for page in filled for key in {_key(line) for line in _margins(page)})
    repeated = {key for key, count in seen.items() if count >= _REPEATED * len(pages)}
    return [_strip(page, repeated) for page in filled]


def _strip(page: list[str], repeated: set[str]) -> list[str]:
    start, stop = 0, len(page)
    while start < min(stop, _MARGIN_LINES) and _key(page[start]) in repeated:
        start += 1
    while stop > max(start, len(page) - _MARGIN_LINES) and _key(page[stop - 1]) in repeated:
        stop -= 1
    return page[start:stop]


def _margins(page: list[str]) -> list[str]:
    return page[:_MARGIN_LINES] + page[-_MARGIN_LINES:]


def _key(line: str) -> str:
    return _DIGITS.sub("0", line.strip())
