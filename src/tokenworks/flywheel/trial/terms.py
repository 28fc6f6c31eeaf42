"""What a trial is held to, fixed before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.model import Release
from tokenworks.core.task import TaskCanary

FEW_LATENCIES = 100  # fewer have no 95th percentile worth the name


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Margins and probabilities of a trial of `candidate` against `incumbent`."""

    trial: str  # id of the release that began it
    incumbent: str  # name@version
    candidate: str
    began_at: float
    share: float
    mode: Literal["canary", "shadow"] = "canary"
    margin: float = 0.02  # how much lower the share of successes may be and still count as not worse
    alpha: float = 0.05  # of a wrong promotion, and of a wrong roll-back
    longest_s: float = 7 * 86_400.0
    slow_s: float = 0.0  # an answer that takes longer is slow; 0: latency is not judged
    slow_margin: float = 0.05  # how much larger the share of slow answers may be
    failure_margin: float = 0.02  # how much larger the share of failed answers may be
    per_user: int = 5  # outcomes of one user that count: the unit is the user, not the request
    settle_s: float = 600.0  # a user with fewer outcomes counts with those of so many seconds
    per_principal: float = 0.1  # the largest share of verdicts from one key where many keys give some
    goal: Literal["not-worse", "better"] = "not-worse"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ConfigError(f"turn.canary.alpha is {self.alpha}; it must lie between 0 and 0.5, such as 0.05")
        if not 0 < self.share <= 1:
            raise ConfigError(f"turn.canary.share is {self.share}; it must lie between 0 and 1, such as 0.1")
        if not 0 < self.margin < 0.5:
            raise ConfigError(
                f"turn.canary.margin is {self.margin}; it must lie between 0 and 0.5: with 0 no number of requests"
                " shows that an equal model is not worse"
            )


def terms_of(release: Release, canary: TaskCanary, *, longest_s: float, slow_s: float = 0.0) -> Terms:
    """Return the terms of the trial that `release` began."""
    return Terms(
        trial=release.id,
        incumbent=f"{release.model}@{release.version}",
        candidate=f"{release.model}@{release.canary}",
        began_at=release.at,
        share=release.share,
        mode="shadow" if release.mode == "shadow" else "canary",
        margin=canary.margin,
        alpha=canary.alpha,
        longest_s=longest_s,
        slow_s=slow_s,
        slow_margin=max(0.05, canary.margin),
        failure_margin=canary.margin,  # a failed answer is an unsuccessful one
    )


def slow_threshold(latencies_s: Sequence[float], latency_margin: float) -> float:
    """Return the latency beyond which an answer of the trial is slow: p95 before it, times 1 + margin.

    0 where there are fewer than 100 latencies: then the trial does not judge latency.
    """
    if len(latencies_s) < FEW_LATENCIES:
        return 0.0
    ordered = sorted(latencies_s)
    return ordered[math.ceil(0.95 * len(ordered)) - 1] * (1.0 + latency_margin)
