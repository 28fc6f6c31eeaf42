"""Accuracy: the share of items whose class is named right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenworks.line.evaluate.grade import Grade
from tokenworks.line.evaluate.intervals import mean_score
from tokenworks.line.evaluate.paired import Paired, paired_scores
from tokenworks.line.evaluate.report import Figure, Item

BETTER = "higher"


def grade(row: Mapping[str, Any], answered: str) -> Grade:
    """Compare the class answered with `row["label"]`."""
    label = str(row["label"])
    return Grade(score=float(answered == label), group=label, predicted=answered)


def figure(items: Sequence[Item]) -> Figure:
    """Return the share of right items with its interval."""
    return mean_score("accuracy", [item.score for item in items], [item.cluster for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same items."""
    return paired_scores(candidate, other, alpha=alpha)
