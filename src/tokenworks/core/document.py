"""A document: one text with its source, its label and what was found in it."""

from __future__ import annotations

import msgspec


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One readable text. Nothing here depends on when or where it was read: equal content, equal bytes."""

    path: str  # relative to its source, with '/'; members of an archive as 'a.zip!/inner.md'
    source: str  # the name of the source it came from
    sha256: str  # of the raw bytes
    media_type: str
    text: str
    title: str = ""
    label: str = "internal"
    language: str = ""  # ISO 639-1, empty where undecided
    licence: str = ""  # SPDX id where known
    quality: float = 1.0  # 0 (noise) to 1
    found: dict[str, int] = {}  # detector name -> number of findings (never the findings themselves)


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A file or document that is not in the corpus, and why."""

    path: str
    source: str
    reason: str  # a short, countable word: 'unreadable', 'empty', 'binary', 'duplicate', 'near-duplicate', ...
    detail: str = ""


def part_of(path: str, whole: str) -> bool:
    """Tell whether `path` is `whole`, a row or piece of it ('file.csv#3'), or a member of it ('a.zip!/inner.md')."""
    return path == whole or path.startswith((f"{whole}#", f"{whole}!/"))
