"""What the examples stage says of its work: where each row went, and what a person should look at."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class ClassCount(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a class."""

    train: int = 0
    gold: int = 0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows of one file went: `rows` is the sum of all others."""

    rows: int
    kept: dict[str, int]  # train | gold | fresh
    set_aside: dict[str, int]  # by reason


class Contradiction(msgspec.Struct, frozen=True, kw_only=True):
    """One text with several answers; none of them is trained on until a correction settles it."""

    text: str  # its first 80 characters
    answers: dict[str, list[int]]  # answer -> lines


class ExamplesReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came in, what was left out, and why."""

    task: str
    kind: str
    label: str
    held_out_by: str  # "file" or "hash"
    train: int
    gold: int
    fresh: int
    accounts: dict[str, Account]  # examples, gold, corrections
    classes: dict[str, ClassCount]
    few: list[str]  # classes with fewer training examples than asked for
    unmeasured: list[str]  # classes without a gold item
    contradicting: int
    contradictions: list[Contradiction]
    disputed: list[str]  # gold texts that a correction answers otherwise


def account_of(rows: int, fates: Mapping[str, int]) -> Account:
    """Return the account of a file of `rows` rows from the fate of each."""
    kept = {fate: count for fate, count in sorted(fates.items()) if fate in ("train", "gold", "fresh")}
    return Account(rows=rows, kept=kept, set_aside={f: n for f, n in sorted(fates.items()) if f not in kept})
