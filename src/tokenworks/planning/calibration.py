"""What one measured point is worth: the factor by which this engine, its version and its options miss the priors."""

from __future__ import annotations

import math

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.planning.step import PRIORS, Deployment, Priors, tpot_s

UNCALIBRATED = 0.25  # a share of 0.85 of the open rows is predicted within this by the priors alone
CALIBRATED = 0.18  # and 0.9 of the rows at other concurrencies within this, after one point: benchmarks/planner.py
BELIEVABLE = 10.0  # a point further off than this by a factor is a mistake in the point


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of a deployment in its steady state."""

    concurrency: float
    prompt: float
    answer: float
    tpot_s: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """By what predictions are multiplied, and how far they may be off then, as a share."""

    factor: float = 1.0
    error: float = UNCALIBRATED
    how: str = "fixed priors"


def calibrate(of: Deployment, point: Point, priors: Priors = PRIORS) -> Calibration:
    """Return what `point` corrects; raise `ConfigError` where it cannot be meant."""
    if not all(math.isfinite(one) and one > 0 for one in (point.concurrency, point.prompt, point.answer, point.tpot_s)):
        raise ConfigError(f"measured point {point}: every figure must be a number above zero")
    factor = point.tpot_s / float(tpot_s(of, point.concurrency, point.prompt, point.answer, priors))
    if not 1 / BELIEVABLE < factor < BELIEVABLE:
        raise ConfigError(
            f"measured point: {point.tpot_s:.4g} s a token is {factor:.3g} times the predicted; "
            "check its unit, the number of devices and the precision"
        )
    return Calibration(
        factor=factor, error=CALIBRATED, how=f"one point at {point.concurrency:.0f} under way, factor {factor:.2f}"
    )
