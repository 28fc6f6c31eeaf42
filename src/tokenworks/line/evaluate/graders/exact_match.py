"""Exact match: the final number where the gold marks one with '####', else the text with blanks evened out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from tokenworks.line.evaluate.grade import Grade
from tokenworks.line.evaluate.intervals import mean_score
from tokenworks.line.evaluate.paired import Paired, paired_scores
from tokenworks.line.evaluate.report import Figure, Item

BETTER = "higher"
MARK = "####"
_NUMBER = re.compile(r"-?(?:\d[\d,]*)?\.?\d+")


def grade(row: Mapping[str, Any], answered: str) -> Grade:
    """Compare `answered` with the gold text `row["answer"]`."""
    gold = str(row["answer"])
    if MARK in gold:
        wanted = final_number(gold)
        return Grade(score=float(wanted is not None and final_number(answered) == wanted))
    return Grade(score=float(_plain(answered) == _plain(gold)))


def figure(items: Sequence[Item]) -> Figure:
    """Return the share of exact answers with its interval."""
    return mean_score("exact_match", [item.score for item in items], [item.cluster for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same items."""
    return paired_scores(candidate, other, alpha=alpha)


def final_number(text: str) -> Decimal | None:
    """Return the number after the last '####', or else the last number of `text`; '1,200.0' equals '1200'."""
    found = _NUMBER.findall(text.rpartition(MARK)[2])
    try:
        return Decimal(found[-1].replace(",", "")) if found else None
    except InvalidOperation:
        return None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
