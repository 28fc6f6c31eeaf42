"""Exact tests on counts, and what looking many times costs. Knows numbers only."""

from __future__ import annotations

import math
from collections.abc import Sequence


def binomial_tail(hits: int, trials: int, rate: float) -> float:
    """Return P(X >= hits) for X ~ Binomial(trials, rate)."""
    if hits <= 0:
        return 1.0
    if hits > trials or rate <= 0:
        return 0.0
    if rate >= 1:
        return 1.0
    odds = math.log(rate), math.log1p(-rate)
    logs = [log_choose(trials, x) + x * odds[0] + (trials - x) * odds[1] for x in range(hits, trials + 1)]
    return min(1.0, math.fsum(map(math.exp, logs)))


def fisher_tail(inside: int, drawn: int, marked: int, total: int) -> float:
    """Return P(X >= inside), X the marked ones among `drawn` of `total` of which `marked` are marked.

    Fisher's exact test, one-sided: the hypergeometric tail.
    """
    most = min(drawn, marked)
    if inside <= max(0, drawn + marked - total):
        return 1.0
    whole = log_choose(total, drawn)
    logs = (log_choose(marked, x) + log_choose(total - marked, drawn - x) - whole for x in range(inside, most + 1))
    return min(1.0, math.fsum(map(math.exp, logs)))


def log_choose(n: int, k: int) -> float:
    """Return the logarithm of n over k."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number (Holm 1979): below alpha means found, whatever the others are."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted, worst = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        worst = max(worst, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = worst
    return adjusted
