"""Excel workbooks by openpyxl: one document a sheet, a line a row."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from tokenworks.core.errors import MissingExtraError
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, Rejected, UnreadableError, read_whole
from tokenworks.line.ingest.zips import refuse_bomb

SUFFIXES = (".xlsx", ".xlsm")
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
VERSION = "1"


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument | Rejected]:
    """Yield each sheet as '#NAME'; the values last calculated, not the formulas."""
    try:
        import openpyxl  # an extra
    except ImportError:
        raise MissingExtraError("reading .xlsx", "docs") from None

    data = read_whole(stream, limits)
    refuse_bomb(data, limits)
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UnreadableError("damaged", f"not a workbook: {type(error).__name__}: {error}") from None
    for sheet in book.worksheets:
        size, lines = 0, []
        for row in sheet.iter_rows(values_only=True):
            cells = ["" if cell is None else str(cell) for cell in row]
            line = " | ".join(cells).strip(" |")
            size += len(line) + 1
            if size > limits.document_bytes:
                yield Rejected(part=f"#{sheet.title}", reason="too-large", detail="the rest of the sheet")
                break
            if line:
                lines.append(line)
        yield RawDocument(text="\n".join(lines), part=f"#{sheet.title}", title=sheet.title)
