"""Intervals for single figures. Sources: Wilson 1927; Efron 1979; Miller 2024 (arXiv 2411.00640).

Knows numbers only: no metric, no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tokenworks.line.evaluate.report import Figure

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 2000
_normal = NormalDist()


def z_of(tail: float) -> float:
    """Return the standard normal quantile that leaves `tail` above it."""
    return _normal.inv_cdf(1.0 - tail)


def wilson(successes: float, n: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion; (0, 1) where nothing was seen."""
    if n == 0:
        return 0.0, 1.0
    z = z_of((1 - confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def proportion(name: str, successes: float, n: int) -> Figure:
    """Return a share with its Wilson interval."""
    low, high = wilson(successes, n)
    return Figure(name=name, value=successes / n if n else 0.0, low=low, high=high, n=n, method="wilson")


def mean_score(name: str, scores: Sequence[float], clusters: Sequence[str] = ()) -> Figure:
    """Return the mean of scores in [0, 1]: Wilson for right-or-wrong scores, else a bootstrap over clusters."""
    n = len(scores)
    clustered = _is_clustered(clusters)
    if not clustered and all(score in (0.0, 1.0) for score in scores):
        return proportion(name, sum(scores), n)
    values = np.asarray(scores, np.float64)
    groups = cluster_numbers(clusters, n)
    low, high = bootstrap(lambda weights: float(weights @ values / weights.sum()), groups)
    return Figure(name=name, value=float(values.mean()), low=low, high=high, n=n, method=_boot_name(clustered))


def weighted_mean(name: str, values: Sequence[float], weights: Sequence[float]) -> Figure:
    """Return sum(w v)/sum(w), such as bits per byte over documents, with a bootstrap over the items."""
    n = len(values)
    if n == 0 or sum(weights) <= 0:
        return Figure(name=name, value=0.0, low=0.0, high=0.0, n=0, method="nothing measured")
    share, value = np.asarray(weights, np.float64), np.asarray(values, np.float64)
    product = share * value
    low, high = bootstrap(lambda w: float(w @ product) / max(float(w @ share), 1e-300), np.arange(n))
    point = float(product.sum() / share.sum())
    return Figure(name=name, value=point, low=min(low, point), high=max(high, point), n=n, method="bootstrap, weighted")


def quantile(name: str, values: Sequence[float], q: float) -> Figure:
    """Return the `q` quantile with a distribution-free interval from order statistics.

    The ranks come from the binomial distribution in its normal form (Hahn & Meeker 1991, section 5.2); with too few
    values to bracket the quantile the interval ends at the extremes, and `method` says so.
    """
    n = len(values)
    if n == 0:
        return Figure(name=name, value=0.0, low=0.0, high=0.0, n=0, method="nothing measured")
    ordered = sorted(values)
    half = z_of((1 - CONFIDENCE) / 2) * math.sqrt(n * q * (1 - q))
    low, high = math.floor(n * q - half) - 1, math.ceil(n * q + half)
    method = "order statistics" if low >= 0 and high < n else "order statistics, cut at the extremes"
    value = ordered[min(n - 1, math.ceil(n * q) - 1)]
    return Figure(name=name, value=value, low=ordered[max(low, 0)], high=ordered[min(high, n - 1)], n=n, method=method)


def bootstrap(
    statistic: Callable[[Floats], float], groups: npt.NDArray[np.int64], *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the percentile interval of `statistic(weights)`; whole `groups` are drawn with replacement.

    `groups[i]` numbers the cluster of item i. The draws are seeded: equal data, equal interval.
    """
    if len(groups) == 0:
        return 0.0, 0.0
    rng = np.random.default_rng(0)
    count = int(groups.max()) + 1
    draws = np.empty(RESAMPLES)
    for row in range(RESAMPLES):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        draws[row] = statistic(weights[groups])
    tail = (1 - confidence) / 2
    return float(np.quantile(draws, tail)), float(np.quantile(draws, 1 - tail))


def cluster_numbers(clusters: Sequence[str], n: int) -> npt.NDArray[np.int64]:
    """Return a cluster number for each of `n` items; an item without a cluster is one of its own."""
    if not _is_clustered(clusters):
        return np.arange(n)
    known: dict[str, int] = {}
    return np.array([known.setdefault(name or f"\0{i}", len(known)) for i, name in enumerate(clusters)], np.int64)


def _is_clustered(clusters: Sequence[str]) -> bool:
    named = [name for name in clusters if name]
    return len(set(named)) < len(named)


def _boot_name(clustered: bool) -> str:
    return "bootstrap over clusters" if clustered else "bootstrap"
