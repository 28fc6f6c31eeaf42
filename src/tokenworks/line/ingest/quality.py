"""How much a text looks like text: the share of published filter rules that it passes.

Prose: the rules of Gopher (Rae et al. 2021, appendix A.1.1) and C4 (Raffel et al. 2020, section 2.2).
Code: those of StarCoder (Li et al. 2023, section 3) on line lengths and letters.
"""

from __future__ import annotations

import re
import zlib

_SAMPLE_CHARS = 1 << 13  # of each document: a score of more hardly differs, and costs more than all detectors
_STOP_WORDS = frozenset("the be to of and that have with".split())  # noqa: SIM905  # Gopher's eight
_LETTER = re.compile(r"[^\W\d_]")


def quality(text: str, media_type: str, language: str) -> float:
    """Return 0 (noise) to 1, rounded to two places so that equal texts score equal everywhere."""
    sample = text[:_SAMPLE_CHARS]
    if not sample.strip():
        return 0.0
    passed = _code(sample) if media_type.startswith("text/x-") else _prose(sample, language)
    return round(sum(passed) / len(passed), 2)


def _prose(sample: str, language: str) -> list[bool]:
    words = sample.split()
    count = len(words)
    lines = [line.strip() for line in sample.split("\n") if line.strip()]
    spaced = language not in ("zh", "ja", "th", "km", "lo", "my")  # their words are not set apart by spaces
    alphabetic = sum(1 for word in words if word.isalpha() or _LETTER.search(word))
    symbols = sample.count("#") + sample.count("…") + sample.count("...")
    passed = [
        count >= 20 or not spaced,  # Gopher asks for 50; handbook pages and table rows are short
        2.5 <= sum(map(len, words)) / count <= 12 if spaced else True,
        alphabetic >= 0.7 * count,
        symbols <= 0.1 * count,
        sum(line[:1] in "-*•·" for line in lines) <= 0.9 * len(lines),
        sum(line.endswith(("...", "…")) for line in lines) <= 0.3 * len(lines),
        len(set(lines)) >= 0.7 * len(lines),
        _compression(sample) >= 0.08,  # repeated n-grams, in one number
        sum(map(str.isalpha, sample)) >= 0.5 * sum(map(len, words)),
    ]
    if language == "en":
        passed.append(len(_STOP_WORDS.intersection(sample.lower().split())) >= 2)
    return passed


def _code(sample: str) -> list[bool]:
    lines = sample.split("\n")
    alphanumeric = sum(map(str.isalnum, sample[:4096])) / len(sample[:4096])
    return [
        len(sample) / len(lines) <= 100,
        max(map(len, lines)) <= 1000,
        alphanumeric >= 0.25,
        _compression(sample) >= 0.06,
    ]


def _compression(sample: str) -> float:
    data = sample.encode("utf-8", "replace")
    return len(zlib.compress(data, 1)) / len(data) if len(data) >= 512 else 1.0
