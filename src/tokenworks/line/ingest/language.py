"""Which language a text is written in, from a sample of it."""

from __future__ import annotations

import re

_SAMPLE_CHARS = 400  # py3langid needs 0.4 ms per 1,000 characters; more hardly changes its mind
_MIN_LETTERS = 20
_NOISE = re.compile(r"```.*?```|`[^`]*`|https?://\S+|<[^>]*>|[^\w\s']|\d|_", re.S)
_SPACE = re.compile(r"\s+")


def detect_language(text: str, media_type: str) -> str:
    """Return the ISO 639-1 code, or '' for source code and for texts too short to tell."""
    if media_type.startswith("text/x-"):
        return ""
    start = max(0, len(text) // 2 - 2 * _SAMPLE_CHARS)  # the middle: heads are full of names and links
    sample = _clean(text[start : start + 4 * _SAMPLE_CHARS])
    if len(sample) < _MIN_LETTERS:
        sample = _clean(text[: 4 * _SAMPLE_CHARS])
    if len(sample) < _MIN_LETTERS:
        return ""
    import py3langid  # unpacks a 60 MB model: only in a process that reads documents

    code, _ = py3langid.classify(sample[:_SAMPLE_CHARS])
    return str(code)


def _clean(text: str) -> str:
    return _SPACE.sub(" ", _NOISE.sub(" ", text)).strip()
