"""Two models on the same items: how much better is one, how sure is that, and how many items would decide it.

Sources: McNemar 1947 (exact form); few items: Bowyer 2025 (arXiv 2503.01747); many: Miller 2024 (arXiv 2411.00640).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.line.evaluate.intervals import Floats, cluster_numbers, z_of
from tokenworks.line.evaluate.report import Item

FEW = 300  # below this many items the normal approximation is not trusted (Bowyer 2025)
DRAWS = 10_000


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """Candidate minus other on the same items; positive means that the candidate is better."""

    difference: float
    low: float  # lower one-sided bound at confidence 1 - alpha
    high: float  # upper one-sided bound at confidence 1 - alpha
    p_better: float  # one-sided p of "the candidate is not better"; exact where it can be
    p_worse: float
    wins: int
    losses: int
    n: int
    spread: float  # variance per item: the share of discordant items for right-or-wrong scores
    alpha: float
    method: str

    @property
    def superior(self) -> bool:
        """Whether the candidate is shown to be better."""
        return self.low > 0 and self.p_better <= self.alpha

    @property
    def inferior(self) -> bool:
        """Whether the candidate is shown to be worse."""
        return self.high < 0 and self.p_worse <= self.alpha


def items_needed(margin: float, spread: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many paired items decide a `margin`: (z_a + z_b)^2 * spread / margin^2.

    `spread` is the share of discordant items (right-or-wrong scores) or the variance of the difference.
    """
    if margin <= 0:
        raise ValueError(f"margin is {margin}; only a positive margin can be decided with finitely many items")
    # Less 1e-9, so that a whole number that floating point puts a hair above itself stays that number.
    return max(1, math.ceil((z_of(alpha) + z_of(1 - power)) ** 2 * spread / margin**2 - 1e-9))


def mcnemar(wins: int, losses: int) -> float:
    """Return the exact one-sided p of at least `wins` among the discordant items if both were equally likely."""
    n = wins + losses
    if n == 0:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(wins, n + 1)]
    top = max(logs)
    return min(1.0, math.exp(top - n * math.log(2)) * sum(math.exp(value - top) for value in logs))


def paired_scores(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare mean scores, higher being better; items of one cluster stay together."""
    gain = np.array([a.score - b.score for a, b in zip(candidate, other, strict=True)], np.float64)
    groups = cluster_numbers([item.cluster for item in candidate], len(gain))
    return paired_gain(gain, np.ones(len(gain)), groups, alpha=alpha)


def paired_losses(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare a weighted mean that should be low, such as bits per byte over documents."""
    gain = np.array([b.score - a.score for a, b in zip(candidate, other, strict=True)], np.float64)
    weights = np.array([item.weight for item in candidate], np.float64)
    groups = cluster_numbers([item.cluster for item in candidate], len(gain))
    return paired_gain(gain, weights, groups, alpha=alpha)


def paired_gain(gain: Floats, weights: Floats, groups: npt.NDArray[np.int64], *, alpha: float) -> Paired:
    """Compare by the gain of each item, weighted: sum(w g) / sum(w)."""
    n = len(gain)
    if n == 0:
        return nothing_shared(alpha)
    wins, losses = int((gain > 0).sum()), int((gain < 0).sum())
    difference = float(weights @ gain / weights.sum())
    alone = len(set(groups.tolist())) == n and bool((weights == weights[0]).all())
    binary = alone and bool(np.isin(gain, (-1.0, 0.0, 1.0)).all())
    if binary:
        p_better, p_worse = mcnemar(wins, losses), mcnemar(losses, wins)
        spread = (wins + losses) / n
    else:
        sums = np.bincount(groups, weights * gain).astype(np.float64)
        p_better, p_worse = sign_flip(sums), sign_flip(-sums)
        spread = n * _variance(gain, weights, groups, difference)
    if binary and (n < FEW or wins + losses < 20):
        low, high, method = *_dirichlet(wins, losses, n, alpha), "Dirichlet posterior, exact McNemar"
    elif n < FEW or len(set(groups.tolist())) < FEW // 4:
        low, high, method = *_resampled(gain, weights, groups, alpha), "bootstrap, sign flips"
    else:
        half = z_of(alpha) * math.sqrt(_variance(gain, weights, groups, difference))
        low, high = difference - half, difference + half
        method = "normal, clustered" if not alone else "normal, exact McNemar" if binary else "normal, sign flips"
    return Paired(
        difference=difference, low=low, high=high, p_better=p_better, p_worse=p_worse, wins=wins, losses=losses,
        n=n, spread=spread, alpha=alpha, method=method,
    )  # fmt: skip


def sign_flip(gain: Floats) -> float:
    """Return the one-sided p of the sum of `gain` if each sign were a fair coin (Fisher's randomisation test)."""
    moved = gain[gain != 0]
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng(0)
    observed, reached, draws = float(moved.sum()), 0, 10_000
    for _ in range(10):  # in slices, so that memory stays small for many items
        signs = rng.integers(0, 2, (draws // 10, len(moved)), dtype=np.int8) * 2 - 1
        reached += int((signs @ moved >= observed - 1e-12).sum())
    return (1 + reached) / (1 + draws)


def _dirichlet(wins: int, losses: int, n: int, alpha: float) -> tuple[float, float]:
    """Return bounds of P(win) - P(loss) under the Jeffreys posterior of (win, loss, tie)."""
    if wins < losses:  # drawn from one side only, so that swapped models give exactly mirrored bounds
        low, high = _dirichlet(losses, wins, n, alpha)
        return -high, -low
    rng = np.random.default_rng(0)
    draws = rng.dirichlet((wins + 0.5, losses + 0.5, n - wins - losses + 0.5), DRAWS)
    gain = draws[:, 0] - draws[:, 1]
    low, high = np.quantile(gain, (alpha, 1 - alpha))
    return float(low), float(high)


def _resampled(gain: Floats, weights: Floats, groups: npt.NDArray[np.int64], alpha: float) -> tuple[float, float]:
    """Return percentile-bootstrap bounds of the weighted gain, drawing whole clusters."""
    top, bottom = np.bincount(groups, weights * gain), np.bincount(groups, weights)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(top), (4000, len(top)))
    draws = top[picks].sum(1) / bottom[picks].sum(1)
    return float(np.quantile(draws, alpha)), float(np.quantile(draws, 1 - alpha))


def _variance(gain: Floats, weights: Floats, groups: npt.NDArray[np.int64], difference: float) -> float:
    """Return the cluster-robust variance of the weighted mean gain (Miller 2024, section 2.2; ratio form)."""
    residuals = np.bincount(groups, weights * (gain - difference))
    count = len(residuals)
    return float((residuals**2).sum() / weights.sum() ** 2 * (count / max(count - 1, 1)))


def words(pair: Paired) -> str:
    """Return the difference with its bounds and how many items it rests on."""
    return f"{pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}] on {pair.n} items"


def nothing_shared(alpha: float) -> Paired:
    """Return what can be said without a single item in common: nothing."""
    return Paired(
        difference=0.0, low=-1.0, high=1.0, p_better=1.0, p_worse=1.0, wins=0, losses=0, n=0, spread=1.0, alpha=alpha,
        method="no items in common",
    )  # fmt: skip
