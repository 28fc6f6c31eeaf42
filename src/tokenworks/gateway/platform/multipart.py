"""multipart/form-data as it arrives: one file straight to disk, small fields in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tokenworks.gateway.errors import bad_request

FIELD_BYTES = 4096
FIELDS = 16
HEADER_BYTES = 4096


@dataclass
class Form:
    """What was sent: fields by name, and the file that was written."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    has_file: bool = False


async def receive_form(content_type: str, pieces: AsyncIterator[bytes], *, file_field: str, into: Path) -> Form:
    """Read a form, its file `file_field` into `into`; raise 400 for what is no such form."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise bad_request(
            f"content-type is {content_type[:80]!r}; send multipart/form-data with a boundary", code="invalid_type"
        )
    with into.open("wb") as file:
        reader = _Reader(file, file_field)
        parser = MultipartParser(boundary, reader.callbacks())
        try:
            async for piece in pieces:
                parser.write(piece)
            parser.finalize()
        except FormParserError as error:
            raise bad_request(f"the body is no multipart/form-data: {error}", code="invalid_form") from None
    if not reader.complete:
        raise bad_request("the body ends before the form does; send it again", code="invalid_form")
    return reader.form


class _Reader:
    """Takes the parser's events; each part is a field, or the file."""

    def __init__(self, file: BinaryIO, file_field: str) -> None:
        self.form = Form()
        self.complete = False
        self._file = file
        self._file_field = file_field
        self._header = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._data = b""

    def callbacks(self) -> Any:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._name, self._data = {}, "", b""
        self._header, self._value = b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = _grown(self._header, data[start:end], HEADER_BYTES, "a header of the form")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _grown(self._value, data[start:end], HEADER_BYTES, "a header of the form")

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == self._file_field:
            if self.form.has_file:
                raise bad_request(f"the form has two fields {self._name!r}; send one file", param=self._name)
            self.form.has_file = True
            self.form.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        elif len(self.form.fields) >= FIELDS or self._name in self.form.fields:
            raise bad_request(f"the field {self._name!r} stands twice, or there are too many", param=self._name)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file_field:
            self._file.write(data[start:end])
        else:
            self._data = _grown(self._data, data[start:end], FIELD_BYTES, f"the field {self._name!r}")

    def _part_end(self) -> None:
        if self._name != self._file_field:
            self.form.fields[self._name] = self._data.decode("utf-8", "replace")

    def _end(self) -> None:
        self.complete = True


def _grown(before: bytes, more: bytes, most: int, what: str) -> bytes:
    if len(before) + len(more) > most:
        raise bad_request(f"{what} is longer than {most} bytes; only the file may be", code="invalid_form")
    return before + more
