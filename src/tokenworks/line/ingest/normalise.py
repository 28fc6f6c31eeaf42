"""One form for every text: NFC, '\\n', no control characters."""

from __future__ import annotations

import re
import unicodedata

_RETURNS = re.compile(r"\r\n?|[\u2028\u2029\x85]")
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\ufeff\ufffe\ud800-\udfff]")


def normalise(text: str) -> str:
    """Return `text` in NFC with Unix newlines, without control characters, soft hyphens and stray marks."""
    if "\r" in text or not text.isascii():
        text = _RETURNS.sub("\n", text)
    text = _UNWANTED.sub("", text.replace("\x0c", "\n"))
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text.strip("\n")
