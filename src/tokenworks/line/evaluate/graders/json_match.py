"""JSON match: the whole answer equals the gold value; beside it, the share of fields that are right."""

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
    """Compare `answered` with the JSON text `row["answer"]`; order of keys and 1 against 1.0 do not matter.

    Part 'fields' is the F1 over (path, value) pairs of the leaves, 'valid' whether the answer is JSON at all.
    """
    match = grading.json_match(str(row["answer"]), answered)
    return Grade(score=float(match.whole), parts={"fields": match.fields, "valid": float(match.valid)})


def figure(items: Sequence[Item]) -> Figure:
    """Return the share of answers that match as a whole."""
    return mean_score("json_match", [item.score for item in items], [item.cluster for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same items."""
    return paired_scores(candidate, other, alpha=alpha)
