"""From rounds of measuring to intervals, and from intervals to a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from tokenworks.planning.claims.claim import AT_LEAST, Claim

Verdict = Literal["confirmed", "not confirmed", "not comparable"]
# Student's t, 97.5 %, for 1 to 30 degrees of freedom; beyond, the normal distribution's is within 4 %.
T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


NOT_MEASURED = "it was not measured"
NORMAL = 1.96  # of the normal distribution, 97.5 %


class Known(NamedTuple):
    """How a figure was measured, besides what its rounds show."""

    error: float  # standard uncertainty that all rounds share, as a share: that of the meter
    how: str
    besides: str = ""  # what else is to be said of it


PLAIN = Known(0.0, "")


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over rounds with its 95 % interval."""

    mean: float
    low: float
    high: float
    rounds: int

    @property
    def half_share(self) -> float:
        """Return half its width as a share of the mean."""
        return (self.high - self.low) / 2 / self.mean if self.mean else math.inf


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: claimed, measured, what it comes to and why."""

    name: str
    claimed: float
    measured: Interval | None  # None: it could not be measured
    verdict: Verdict
    because: str


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least two rounds with its interval by Student's t."""
    count = len(values)
    mean = sum(values) / count
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count) if count > 1 else math.inf
    half = T[min(count - 1, len(T)) - 1] * spread
    return Interval(mean=mean, low=mean - half, high=mean + half, rounds=count)


def widened(found: Interval, error: float) -> Interval:
    """Return the interval with an uncertainty that more rounds do not lessen, in quadrature."""
    half = math.hypot((found.high - found.low) / 2, NORMAL * error * found.mean)
    return Interval(mean=found.mean, low=found.mean - half, high=found.mean + half, rounds=found.rounds)


def enough(rounds: Mapping[str, Sequence[float]], claim: Claim) -> bool:
    """Return whether every claimed figure that can be measured is known well enough to be judged."""
    least, most = claim.rule.rounds
    known = [rounds[name] for name in claim.claim.claimed if rounds.get(name)]
    count = max(map(len, rounds.values()), default=0)
    if count < least:
        return False
    return count >= most or all(interval(values).half_share <= claim.rule.interval for values in known)


def judge(
    rounds: Mapping[str, Sequence[float]], claim: Claim, missing: Mapping[str, str],
    known: Mapping[str, Known] = MappingProxyType({}),
) -> list[Judged]:  # fmt: skip
    """Return a verdict for each claimed figure; `missing` says why one could not be measured, `known` how one was."""
    return [
        _judged(name, value, rounds.get(name) or (), claim, missing.get(name, NOT_MEASURED), known.get(name, PLAIN))
        for name, value in claim.claim.claimed.items()
    ]


def overall(judged: Sequence[Judged]) -> Verdict:
    """Return the verdict on the whole claim: one figure that is not confirmed is enough."""
    verdicts = {one.verdict for one in judged}
    if "not confirmed" in verdicts:
        return "not confirmed"
    return "not comparable" if "not comparable" in verdicts else "confirmed"


def _judged(name: str, value: float, values: Sequence[float], claim: Claim, missing: str, known: Known) -> Judged:
    if len(values) < 2:
        return Judged(name=name, claimed=value, measured=None, verdict="not comparable", because=missing)
    plain = interval(values)
    found = widened(plain, known.error) if known.error else plain
    said = f"; {known.how}" if known.how else ""
    if claim.differences:
        why = f"the run differs in {', '.join(claim.differences)}{said}"
        return Judged(name=name, claimed=value, measured=found, verdict="not comparable", because=why)
    more = "a better meter" if NORMAL * known.error * found.mean > plain.high - plain.mean else "more rounds"
    verdict, why = _against(name, value, found, claim.rule.tolerance, more)
    return Judged(name=name, claimed=value, measured=found, verdict=verdict, because=why + said)


def _against(name: str, value: float, found: Interval, tolerance: float, more: str) -> tuple[Verdict, str]:
    # Seen so that larger is better: the figure must reach the bar.
    sign = 1 if name in AT_LEAST else -1
    bar = value * (1 - sign * tolerance)
    low, high = sorted((sign * found.low, sign * found.high))
    gap = f"measured {found.mean / value - 1:+.1%} against the claim"
    if low >= sign * bar:
        return "confirmed", f"{gap}; all of the 95 % interval is within the tolerance of {tolerance:.0%}"
    if high < sign * bar:
        return "not confirmed", f"{gap}; none of the 95 % interval is within the tolerance of {tolerance:.0%}"
    return "not confirmed", f"{gap}; undecided, the 95 % interval contains the bar: allow {more}"
