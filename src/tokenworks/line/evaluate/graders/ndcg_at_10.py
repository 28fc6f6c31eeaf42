"""nDCG at 10: relevant documents count more the earlier they stand (Jarvelin & Kekalainen 2002, binary relevance)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tokenworks.line.evaluate.grade import Grade
from tokenworks.line.evaluate.intervals import mean_score
from tokenworks.line.evaluate.paired import Paired, paired_scores
from tokenworks.line.evaluate.report import Figure, Item

BETTER = "higher"
DEPTH = 10


def grade(row: Mapping[str, Any], answered: Sequence[str]) -> Grade:
    """Score the document ids found, best first, against `row["relevant"]`."""
    relevant = {str(name) for name in row["relevant"]}
    gain = sum(1 / math.log2(rank + 2) for rank, name in enumerate(answered[:DEPTH]) if name in relevant)
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(len(relevant), DEPTH)))
    return Grade(score=min(1.0, gain / ideal) if ideal else 0.0)


def figure(items: Sequence[Item]) -> Figure:
    """Return mean nDCG over the queries."""
    return mean_score("ndcg@10", [item.score for item in items], [item.cluster for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same queries."""
    return paired_scores(candidate, other, alpha=alpha)
