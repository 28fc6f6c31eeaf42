"""Macro F1: the mean over the gold classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenworks.line.evaluate.grade import Grade
from tokenworks.line.evaluate.intervals import Floats, bootstrap
from tokenworks.line.evaluate.paired import Paired, nothing_shared
from tokenworks.line.evaluate.report import Figure, Item

BETTER = "higher"
DRAWS = 1000
Codes = npt.NDArray[np.int64]


def grade(row: Mapping[str, Any], answered: str) -> Grade:
    """Compare the class answered with `row["label"]`."""
    label = str(row["label"])
    return Grade(score=float(answered == label), group=label, predicted=answered)


def figure(items: Sequence[Item]) -> Figure:
    """Return macro F1 with a bootstrap interval over items."""
    if not items:
        return Figure(name="macro_f1", value=0.0, low=0.0, high=1.0, n=0, method="nothing measured")
    gold, predicted = _codes(items, items)[:2]
    low, high = bootstrap(lambda weights: _macro_f1(gold, predicted, weights), np.arange(len(items)))
    value = _macro_f1(gold, predicted, np.ones(len(items)))
    return Figure(
        name="macro_f1", value=value, low=min(low, value), high=max(high, value), n=len(items), method="bootstrap"
    )


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models: paired bootstrap for the bounds, swapped answers for the p-values.

    F1 is no mean of items, so neither McNemar nor a normal interval applies to it.
    """
    n = len(candidate)
    if n == 0:
        return nothing_shared(alpha)
    gold, mine, theirs = _codes(candidate, other)
    rng, one = np.random.default_rng(0), np.ones(n)
    difference = _macro_f1(gold, mine, one) - _macro_f1(gold, theirs, one)
    draws, swaps = np.empty(DRAWS), np.empty(DRAWS)
    for row in range(DRAWS):
        weights = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        draws[row] = _macro_f1(gold, mine, weights) - _macro_f1(gold, theirs, weights)
        coin = rng.random(n) < 0.5
        swaps[row] = _macro_f1(gold, np.where(coin, theirs, mine), one)
        swaps[row] -= _macro_f1(gold, np.where(coin, mine, theirs), one)
    right, other_right = mine == gold, theirs == gold
    return Paired(
        difference=difference,
        low=min(float(np.quantile(draws, alpha)), difference),
        high=max(float(np.quantile(draws, 1 - alpha)), difference),
        p_better=float((1 + (swaps >= difference - 1e-12).sum()) / (1 + DRAWS)),
        p_worse=float((1 + (swaps <= difference + 1e-12).sum()) / (1 + DRAWS)),
        wins=int((right & ~other_right).sum()),
        losses=int((other_right & ~right).sum()),
        n=n,
        spread=float(n * draws.var()),
        alpha=alpha,
        method="paired bootstrap, swaps",
    )


def _macro_f1(gold: Codes, predicted: Codes, weights: Floats) -> float:
    """Return macro F1 over the classes that the weighted gold has; an absent class has no F1 to count."""
    size = int(max(gold.max(), predicted.max())) + 1
    hits = np.bincount(gold, weights * (gold == predicted), size)
    asked, named = np.bincount(gold, weights, size), np.bincount(predicted, weights, size)
    there = asked > 0
    return float((2 * hits[there] / (asked[there] + named[there])).mean())


def _codes(candidate: Sequence[Item], other: Sequence[Item]) -> tuple[Codes, Codes, Codes]:
    known: dict[str, int] = {}
    columns = ([i.group for i in candidate], [i.predicted for i in candidate], [i.predicted for i in other])
    gold, mine, theirs = (
        np.array([known.setdefault(name, len(known)) for name in column], np.int64) for column in columns
    )
    return gold, mine, theirs
