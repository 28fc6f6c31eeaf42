"""Where a candidate may show that it is better than the incumbent, and whether it did. Why so: docs/decisions/0125."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tokenworks.line.evaluate.grade import Metric
from tokenworks.line.evaluate.paired import Paired, paired_scores, words
from tokenworks.line.evaluate.report import QUADRATIC, Evaluation, Item, paired_items
from tokenworks.line.evaluate.verdict import Check

POOLED = "gold and fresh"
SURER = "surer"


@dataclass(frozen=True)
class Gains:
    """The chances that a candidate had, each tested at `alpha`."""

    by_metric: dict[str, Paired]  # the task's metric, by the items; those that most rests on come first
    surer: Paired | None  # by the probabilities of the classes named
    alpha: float

    @property
    def pairs(self) -> dict[str, Paired]:
        """All comparisons by name."""
        return {**self.by_metric, **({SURER: self.surer} if self.surer else {})}

    @property
    def checks(self) -> list[Check]:
        """The comparisons as the verdict lists them."""
        names = {name: SURER if name == SURER else f"better on {name}" for name in self.pairs}
        return [Check(name=names[name], holds=pair.superior, says=words(pair)) for name, pair in self.pairs.items()]

    @property
    def shown(self) -> tuple[str, ...]:
        """What was proven, in words. To be surer counts only for what is not seen to do worse."""
        better = {name: pair for name, pair in self.by_metric.items() if pair.superior}
        if better:
            return tuple(f"it is better on the {name} items by {words(pair)}" for name, pair in better.items())
        no_worse = next(iter(self.by_metric.values())).difference >= 0
        if self.surer is not None and self.surer.superior and no_worse:
            return (f"it is surer of what is right by {words(self.surer)}",)
        return ()

    @property
    def closest(self) -> tuple[str, Paired]:
        """The comparison by the metric that lacks least."""
        return min(self.by_metric.items(), key=lambda entry: entry[1].p_better)


def look_for(
    candidate: Evaluation,
    incumbent: Evaluation,
    fresh: tuple[Evaluation, Evaluation] | None,
    metric: Metric,
    alpha: float,
) -> Gains:
    """Compare on every set that can show a gain; together they err with a probability of `alpha` at most (Bonferroni).

    All items together see the smallest gain; fresh items alone see what changed in the traffic and gold knows nothing
    of; probabilities see a gain before the classes named do.
    """
    both = (candidate, incumbent) if fresh is None else (_joined(candidate, fresh[0]), _joined(incumbent, fresh[1]))
    sure = _sure(*both)
    share = alpha / (1 + (fresh is not None) + (sure is not None))
    by_metric = {"gold" if fresh is None else POOLED: compare(*both, metric, share)}
    if fresh is not None:
        by_metric["fresh"] = compare(*fresh, metric, share)
    return Gains(by_metric, None if sure is None else paired_scores(*sure, alpha=share), share)


def compare(candidate: Evaluation, other: Evaluation, metric: Metric, alpha: float) -> Paired:
    """Return candidate minus other on the items that both have."""
    return metric.compare(*paired_items(candidate.items, other.items), alpha=alpha)


def _sure(candidate: Evaluation, other: Evaluation) -> tuple[list[Item], list[Item]] | None:
    """Return the items of both with their quadratic scores; None where answers tell no probability."""
    mine, theirs = paired_items(candidate.items, other.items)
    if not mine or any(QUADRATIC not in item.parts for item in (*mine, *theirs)):
        return None
    return _scored(mine), _scored(theirs)


def _scored(items: Sequence[Item]) -> list[Item]:
    return [msgspec.structs.replace(item, score=item.parts[QUADRATIC]) for item in items]


def _joined(gold: Evaluation, fresh: Evaluation) -> Evaluation:
    """Return both as one set of items; equal ids in two sets are not the same item."""
    sets = {"gold": gold.items, "fresh": fresh.items}
    apart = [msgspec.structs.replace(item, id=f"{name}:{item.id}") for name, items in sets.items() for item in items]
    return msgspec.structs.replace(gold, items=tuple(apart))
