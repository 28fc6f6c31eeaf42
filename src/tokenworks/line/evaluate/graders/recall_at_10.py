"""Recall at 10: the share of a query's relevant documents among the first ten found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenworks.line.evaluate.grade import Grade
from tokenworks.line.evaluate.intervals import mean_score
from tokenworks.line.evaluate.paired import Paired, paired_scores
from tokenworks.line.evaluate.report import Figure, Item

BETTER = "higher"
DEPTH = 10


def grade(row: Mapping[str, Any], answered: Sequence[str]) -> Grade:
    """Compare the document ids found, best first, with `row["relevant"]`."""
    relevant = {str(name) for name in row["relevant"]}
    found = relevant & set(answered[:DEPTH])
    # No more than ten can be found, so no more than ten are asked for.
    return Grade(score=len(found) / min(len(relevant), DEPTH) if relevant else 0.0)


def figure(items: Sequence[Item]) -> Figure:
    """Return mean recall over the queries."""
    return mean_score("recall@10", [item.score for item in items], [item.cluster for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same queries."""
    return paired_scores(candidate, other, alpha=alpha)
