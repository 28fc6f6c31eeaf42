"""When the vote is over: Bayesian rules on the counts of the two leading answers.

Sources: Aggarwal et al. 2023 (arXiv 2305.11860, Beta criterion); predictive probability in sequential trials, Lee & Liu
2008 (Clinical Trials 5:93), with the Beta-binomial of the two leading answers; that the two suffice: arXiv 2602.05395.
"""

from __future__ import annotations

import math

# So many answers of which no two are alike are not going to agree. Among k different ones k(k-1)/2 pairs do not match:
# by the rule of three (Hanley & Lippman-Hand 1983) about 3/(k(k-1)/2) of pairs do at most, and the likeliest answer has
# at most the root of that: 16 % of the samples where 16 differ; where 8 do 33 %, which a vote of 16 can well find.
UNLIKE_ALL = 16


def leads(first: float, second: float) -> float:
    """Return P(p > 1/2) where p ~ Beta(first+1, second+1): that the leader is the likelier of the two."""
    return 1.0 - incomplete_beta(first + 1.0, second + 1.0, 0.5)


def overtaken(first: float, second: float, left: int) -> float:
    """Return the probability that the second answer has more votes than the first after `left` more votes.

    Every vote to come is given to one of the two, which makes it the largest. Votes may carry weights of mean 1.
    """
    needed = math.floor((left + first - second) / 2) + 1
    if needed > left:
        return 0.0
    a, b = second + 1.0, first + 1.0
    base = math.lgamma(left + 1) - _log_beta(a, b)
    terms = (
        math.exp(base - math.lgamma(y + 1) - math.lgamma(left - y + 1) + _log_beta(a + y, b + left - y))
        for y in range(max(0, needed), left + 1)
    )
    return min(1.0, sum(terms))


def settled(first: float, second: float, left: int, confidence: float) -> bool:
    """Return whether `left` more votes would hardly change who leads."""
    return overtaken(first, second, left) <= 1.0 - confidence


def votes_needed(first: float, second: float, left: int, confidence: float) -> int:
    """Return the fewest further votes after which the vote could be over.

    All of them for the leader: no other course ends sooner, so that asking for so many at once costs no sample that
    asking one by one would save.
    """
    for votes in range(1, left):
        if settled(first + votes, second, left - votes, confidence):
            return votes
    return left


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # it converges fast only on this side
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) / a
    return front / _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """Return 1 + d1/(1 + d2/(1 + ...)), from its far end."""
    value = 1.0
    for n in range(300, 0, -1):
        m = n // 2
        if n % 2:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1.0 + step / value
    return value


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
