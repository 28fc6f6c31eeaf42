"""Exact values that the organisation itself has named: customer numbers, project names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tokenworks.line.ingest.detect.finding import Finding

_WORD = re.compile(r"\w+")


class Terms:
    """Finds any of many values in one pass: by their first word, then exactly, at word borders, whatever the case."""

    def __init__(self, dictionaries: Mapping[str, Sequence[str]]) -> None:
        self._by_word: dict[str, list[tuple[str, str]]] = {}
        for name, values in sorted(dictionaries.items()):
            for value in values:
                folded = value.casefold()
                if first := _WORD.search(folded):
                    self._by_word.setdefault(first[0], []).append((folded, f"dictionary:{name}"))
        for candidates in self._by_word.values():
            candidates.sort(key=lambda pair: -len(pair[0]))  # the longest value wins

    def find(self, text: str) -> list[Finding]:
        """Return where values stand in `text`."""
        if not self._by_word:
            return []
        folded = text.casefold()
        if len(folded) != len(text):  # a few letters fold to two: then positions would not be those of `text`
            folded = text.lower() if len(text.lower()) == len(text) else text
        findings: list[Finding] = []
        for word in _WORD.finditer(folded):
            for value, kind in self._by_word.get(word[0], ()):
                start = word.start() - _lead(value)
                end = start + len(value)
                if start >= 0 and folded[start:end] == value and not _continues(folded, start, end):
                    findings.append(Finding(kind, start, end))
                    break
        return findings


def _lead(value: str) -> int:
    first = _WORD.search(value)
    return first.start() if first else 0


def _continues(text: str, start: int, end: int) -> bool:
    """Tell whether `text[start:end]` is only part of a longer word."""
    before = start > 0 and text[start - 1].isalnum() and text[start].isalnum()
    after = end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
    return before or after
