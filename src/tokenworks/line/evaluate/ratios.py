"""Speed and cost of two models on the same items, as ratios with bounds: paired bootstrap over items or clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.line.evaluate.cost import Cost
from tokenworks.line.evaluate.intervals import Floats, cluster_numbers
from tokenworks.line.evaluate.report import Item

Picks = npt.NDArray[np.int64]
DRAWS = 1000
ENOUGH = 100  # items: fewer have less than five beyond their 95th percentile
RESOLUTION_S = 0.005  # differences below this are the machine's scheduling, not the model


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Candidate over incumbent; above 1 the candidate is slower, or costs more."""

    value: float
    low: float  # lower one-sided bound at confidence 1 - alpha
    high: float
    candidate: float  # the two figures themselves, in `unit`
    incumbent: float
    n: int
    unit: str
    method: str

    def exceeds(self, margin: float) -> bool:
        """Return whether it is proven to be more than `margin` above 1, by more than a machine's own noise."""
        return self.low > 1 + margin and self.candidate - self.incumbent > RESOLUTION_S

    def within(self, margin: float) -> bool:
        """Return whether it is proven to be less than `margin` above 1."""
        return self.high < 1 + margin


def latency_ratio(candidate: Sequence[Item], incumbent: Sequence[Item], *, alpha: float) -> Ratio | None:
    """Return the ratio of p95 latencies on the items that both answered; None where nothing was timed."""
    pairs = [
        (a, b)
        for a, b in zip(candidate, incumbent, strict=True)
        if not a.error and not b.error and a.latency_s > 0 and b.latency_s > 0
    ]
    if not pairs:
        return None
    mine, theirs = (np.array([pair[side].latency_s for pair in pairs], np.float64) for side in (0, 1))

    def p95(picks: Picks) -> tuple[float, float]:
        return _p95(mine[picks]), _p95(theirs[picks])

    return _ratio(p95, [a for a, _ in pairs], alpha, unit="s", method="paired bootstrap of p95")


def cost_ratio(candidate: Sequence[Item], incumbent: Sequence[Item], cost: Cost, *, alpha: float) -> Ratio | None:
    """Return the ratio of costs per right answer: sum of costs / right answers; None where none was right or timed."""
    mine, theirs = (np.array([cost.of(item) for item in side], np.float64) for side in (candidate, incumbent))
    right, other = (np.array([item.score for item in side], np.float64) for side in (candidate, incumbent))
    if not len(mine) or min(mine.sum(), theirs.sum(), right.sum(), other.sum()) <= 0:
        return None

    def each(picks: Picks) -> tuple[float, float]:
        least = 1e-9  # a draw without any right answer costs more than can be said
        return (
            float(mine[picks].sum() / max(right[picks].sum(), least)),
            float(theirs[picks].sum() / max(other[picks].sum(), least)),
        )

    return _ratio(each, candidate, alpha, unit=cost.unit, method="paired bootstrap")


def _ratio(
    figures: Callable[[Picks], tuple[float, float]],
    items: Sequence[Item],
    alpha: float,
    *,
    unit: str,
    method: str,
) -> Ratio:
    groups = cluster_numbers([item.cluster for item in items], len(items))
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    alone = len(members) == len(items)
    rng, draws = np.random.default_rng(0), np.empty(DRAWS)
    for row in range(DRAWS):
        chosen = rng.integers(0, len(members), len(members))
        mine, theirs = figures(order[chosen] if alone else np.concatenate([members[i] for i in chosen]))
        draws[row] = mine / theirs
    candidate, incumbent = figures(np.arange(len(items)))
    low, high = np.quantile(draws, (alpha, 1 - alpha))
    value = candidate / incumbent
    return Ratio(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        candidate=candidate,
        incumbent=incumbent,
        n=len(items),
        unit=unit,
        method=method if alone else f"{method}, clustered",
    )


def _p95(values: Floats) -> float:
    """Return the nearest-rank 95th percentile."""
    rank = min(len(values) - 1, int(np.ceil(0.95 * len(values))) - 1)
    return float(np.partition(values, rank)[rank])
