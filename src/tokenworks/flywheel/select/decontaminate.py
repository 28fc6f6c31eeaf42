"""Nothing that is measured on may be learned: rows that share a long run of words with an evaluation item go.

Longest match with n = 8 and a minimum count of 1 (ConTAM, Singh 2024); items of fewer words are compared as a whole.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import msgspec
import numpy as np

from tokenworks.core.errors import DataError
from tokenworks.core.stage import Artifacts
from tokenworks.flywheel.select.near import Signatures, like, signatures
from tokenworks.flywheel.select.rows import Row, Sieve
from tokenworks.line.curate._formats import Malformed, read_rows
from tokenworks.line.curate._texts import key_of, normalise

N = 8  # words
BOILERPLATE = (
    0.1  # of an evaluation set's items: words that so many share are the form of the question, not its content
)
_LEAST_SHARED = 3  # items
_WORDS = re.compile(r"\w+")
_MULTIPLIER = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class EvalTexts:
    """The items of one evaluation set, ready to be recognised."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts: Counter[int] = Counter()
        for text in texts:
            counts.update(set(runs(text)))
        most = max(_LEAST_SHARED, BOILERPLATE * len(texts))
        self.runs = frozenset(run for run, count in counts.items() if count <= most)
        self.whole = frozenset(key_of(text) for text in texts)
        self.signatures: Signatures = signatures([text for text in texts if normalise(text)])


def decontaminate(sieve: Sieve, evals: Mapping[str, EvalTexts]) -> None:
    """Set aside the rows that repeat an item of any evaluation set, counted by its name."""
    found = signatures([row.text for row in sieve.rows])
    fates: dict[int, str] = {}
    for name, known in sorted(evals.items()):
        near = like(found, known.signatures) if len(known.signatures) else np.zeros(len(found), bool)
        for at, row in enumerate(sieve.rows):
            if at not in fates and (near[at] or _repeats(row, known)):
                fates[at] = name
    for name in sorted(set(fates.values())):
        sieve.set_aside[f"in {name}"] += sum(fate == name for fate in fates.values())
    sieve.rows = [row for at, row in enumerate(sieve.rows) if at not in fates]


def repeats(text: str, evals: Iterable[EvalTexts]) -> bool:
    """Tell whether `text` is an item of an evaluation set, or shares a run of words with one."""
    return any(key_of(text) in known.whole or not known.runs.isdisjoint(runs(text)) for known in evals)


def _repeats(row: Row, known: EvalTexts) -> bool:
    if key_of(row.text) in known.whole or not known.runs.isdisjoint(runs(row.text)):
        return True
    return bool(row.messages) and not known.runs.isdisjoint(runs(row.answer))


def runs(text: str) -> Iterator[int]:
    """Yield a hash for each run of 8 words."""
    words = [zlib.crc32(word.encode()) for word in _WORDS.findall(text.casefold())]
    for at in range(len(words) - N + 1):
        run = 0
        for word in words[at : at + N]:
            run = ((run ^ word) * _MULTIPLIER) & _MASK
            run ^= run >> 29
        yield run


def read_eval(artifacts: Artifacts, digest: str, name: str) -> EvalTexts:
    """Return the texts of an evaluation set: what is asked and what the right answer says.

    Raises `DataError` where the file is none that can be read: what is not known cannot be kept out.
    """
    with artifacts.open(digest) as file:
        first = file.readline()
        file.seek(0)
        texts = list(_asked_lines(file) if _is_query(first) else _example_lines(file, name))
    return EvalTexts([text for text in texts if text.strip()])


def _is_query(line: bytes) -> bool:
    """Tell whether the lines are those of a retrieval set: {"query": ..., "relevant": [...]}."""
    try:
        row: Any = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return isinstance(row, dict) and ("query" in row or ("text" in row and "relevant" in row))


def _asked_lines(file: BinaryIO) -> Iterator[str]:
    for line in file:
        if line.strip():
            row = msgspec.json.decode(line)
            yield str(row.get("query") or row.get("text") or "")


def _example_lines(file: BinaryIO, name: str) -> Iterator[str]:
    for row in read_rows(file, name):
        if isinstance(row, Malformed):
            raise DataError(f"{name} line {row.line}: {row.reason}; what is measured on must be known to be kept out")
        yield row.text
        if row.messages:
            yield row.answer
