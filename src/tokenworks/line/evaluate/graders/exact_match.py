"""Exact match: the final number where the gold marks one with '####', else the text with blanks evened out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenworks.line import grading
from tokenworks.line.evaluate.grade import Grade
from tokenworks.line.evaluate.intervals import mean_score
from tokenworks.line.evaluate.paired import Paired, paired_scores
from tokenworks.line.evaluate.report import Figure, Item

BETTER = "higher"


def grade(row: Mapping[str, Any], answered: str) -> Grade:
    """Compare `answered` with the gold text `row["answer"]`."""
    return Grade(score=float(grading.exact_match(str(row["answer"]), answered)))


def figure(items: Sequence[Item]) -> Figure:
    """Return the share of exact answers with its interval."""
    return mean_score("exact_match", [item.score for item in items], [item.cluster for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same items."""
    return paired_scores(candidate, other, alpha=alpha)
