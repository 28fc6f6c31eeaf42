"""Who disagrees with everybody: principals and keys whose corrections are doubtful far more often than others'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenworks.flywheel.select.evidence import ALPHA, Culprit, by_principal
from tokenworks.flywheel.select.exact import binomial_tail, fisher_tail, holm

LEAST = 3  # doubtful rows below which nobody is accused alone
HALF = 0.5  # of what a principal gave must be doubtful: somebody clumsy is not held back as a whole
SURELY = 0.05  # share of false accusations among the members of a proven campaign


def outliers(principals: Sequence[str], doubtful: Iterable[int]) -> list[Culprit]:
    """Return who is doubted more often than the others together: Fisher's exact test, Holm over all principals."""
    bad = by_principal(principals, doubtful)
    every = by_principal(principals, range(len(principals)))
    names = sorted(every)
    total, marked = len(principals), sum(bad.values())
    adjusted = holm([fisher_tail(bad[name], every[name], marked, total) for name in names])
    return [
        Culprit(principal=name, rows=every[name], doubtful=bad[name], p_value=p, reason="outlier")
        for name, p in zip(names, adjusted, strict=True)
        if p < ALPHA and bad[name] >= LEAST and bad[name] >= HALF * every[name]
    ]


def members(
    principals: Sequence[str], held: Iterable[int], *, chance: float, reason: str, share: float = SURELY
) -> list[Culprit]:
    """Return who stands behind `held`, rows of a campaign already proven.

    `chance` is the probability that a row of somebody honest falls among them. Each principal's count is tested
    against it; of those named at most `share` are expected to be honest (Benjamini and Hochberg 1995).
    """
    mine = by_principal(principals, held)
    every = by_principal(principals, range(len(principals)))
    tested = sorted((binomial_tail(mine[name], every[name], chance), name) for name in mine)
    last = max((rank for rank, (p, _) in enumerate(tested, 1) if p <= share * rank / len(every)), default=0)
    return [
        Culprit(principal=name, rows=every[name], doubtful=mine[name], p_value=p, reason=reason)
        for p, name in tested[:last]
    ]
