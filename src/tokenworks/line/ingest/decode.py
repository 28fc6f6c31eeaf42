"""Bytes to text: which encoding, and whether it is text at all. The encoding taken is always told."""

from __future__ import annotations

import codecs
import re

from tokenworks.line.ingest.reading import UnreadableError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_CONTROL_SHARE = 0.01  # of the first 64 KiB; prose and code have none
_SAMPLE = 1 << 16


def decode(data: bytes, declared: str = "") -> tuple[str, str]:
    """Return `data` as text and the encoding taken; raise `UnreadableError('binary')` where it is no text.

    Order: byte order mark, UTF-8, what the document declares, UTF-8 with few damaged bytes, latin-1.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _with_mark(data, mark, encoding)
    refuse_binary(data)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _fall_back(data, declared)


def refuse_binary(data: bytes) -> None:
    """Raise `UnreadableError('binary')` where the head of `data` has the control bytes of no text."""
    head = data[:_SAMPLE]
    controls = len(_CONTROL.findall(head))
    if b"\0" in head or controls > _CONTROL_SHARE * len(head) + 1:
        raise UnreadableError("binary", f"{controls} control bytes in the first {len(head)}")


def _with_mark(data: bytes, mark: bytes, encoding: str) -> tuple[str, str]:
    if encoding == "utf-8":
        text, taken = decode(data[len(mark) :])
        return text, taken
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        raise UnreadableError("mis-encoded", f"{encoding} byte order mark, but byte {error.start} is not") from None


def _fall_back(data: bytes, declared: str) -> tuple[str, str]:
    if declared:
        try:
            return data.decode(declared), codecs.lookup(declared).name
        except (UnicodeDecodeError, LookupError):
            declared = ""
    repaired = data.decode("utf-8", errors="replace")
    damaged = repaired.count("\ufffd")
    beyond_ascii = sum(1 for character in repaired[:_SAMPLE] if character > "\x7f")
    if damaged * 10 < beyond_ascii:  # mostly right UTF-8: a cut or a stray byte
        return repaired, "utf-8-damaged"
    return data.decode("cp1252", errors="replace") if _is_cp1252(data) else data.decode("latin-1"), "latin-1"


def _is_cp1252(data: bytes) -> bool:
    """Bytes 0x80-0x9f are control characters in latin-1: where they occur, Windows' superset is meant (WHATWG)."""
    return any(0x80 <= byte <= 0x9F for byte in data[:_SAMPLE])
