"""The owner's own examples: what feedback is judged by, because nobody who only sends feedback has a say in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from tokenworks.core.stage import Artifacts
from tokenworks.line.curate._formats import Malformed, read_rows

MOST = 20_000  # examples; more no longer sharpen the judgement


@dataclass
class Trusted:
    """Texts and answers, and the labels there are."""

    texts: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    classes: frozenset[str] = frozenset()


def read_trusted(artifacts: Artifacts, digest: str, name: str) -> Trusted:
    """Return the examples in the blob; of very many, those with the lowest hashes. Malformed lines are left out."""
    with artifacts.open(digest) as file:
        rows = [row for row in read_rows(file, name) if not isinstance(row, Malformed) and row.text.strip()]
    classes = frozenset(row.answer for row in rows)
    if len(rows) > MOST:
        rows = sorted(rows, key=lambda row: blake2b(f"{row.text}\0{row.answer}".encode("utf-8", "replace")).digest())
    return Trusted([row.text for row in rows[:MOST]], [row.answer for row in rows[:MOST]], classes)
