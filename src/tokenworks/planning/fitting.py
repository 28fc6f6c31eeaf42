"""The cost of an engine's steps from a minute of measuring it: its own curve in the place of priors.

Needed where no data sheet says what a machine does: the processor of a small server, an engine nobody measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from tokenworks.core.errors import DataError
from tokenworks.planning.simulate import Cost


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """So many sequences were running, with so many tokens behind each on average; a step took so long."""

    running: int
    context: float
    step_s: float


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A lone prompt of so many tokens had its first token after so long."""

    tokens: int
    ttft_s: float


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """The cost, and how far it is from what it was made of, as a share."""

    cost: Cost
    error: float


def fit(decoded: Sequence[Decoded], read: Sequence[Read], most: int) -> Fitted:
    """Return the cost whose steps are those measured; raise `DataError` where too little was."""
    if len({one.running for one in decoded}) < 2 or len({one.tokens for one in read}) < 3:
        raise DataError("too little was measured: two numbers of sequences and three lengths of prompts at the least")
    slope = _slope(decoded)
    short = [min((d for d in decoded if d.running == n), key=lambda one: one.context) for n in _counts(decoded)]
    counts = [one.running for one in short]
    flat = [max(one.step_s - slope * one.running * one.context, 0.2 * one.step_s) for one in short]
    # Past the last measured count a step grows as between the last two.
    beyond = max((flat[-1] - flat[-2]) / (counts[-1] - counts[-2]), 0.0)
    steps = [
        float(np.interp(n, counts, flat)) if n <= counts[-1] else flat[-1] + beyond * (n - counts[-1])
        for n in range(1, most + 1)
    ]
    tokens = np.array([one.tokens for one in read], float)
    came = np.array([one.ttft_s for one in read])
    base, each, pair = _not_negative(np.stack([np.ones_like(tokens), tokens, tokens**2 / 2], 1), came)
    alone = min(base, steps[0])
    cost = Cost(
        step_s=(alone, *steps), context_s=(0.0, *[slope] * most), prompt_s=each, pair_s=pair, request_s=base - alone
    )
    missed = [abs(cost.step_s[d.running] + slope * d.running * d.context - d.step_s) / d.step_s for d in decoded]
    missed += [abs(base + each * n + pair * n**2 / 2 - t) / t for n, t in zip(tokens, came, strict=True)]
    return Fitted(cost=cost, error=float(np.median(missed)))


def _counts(decoded: Sequence[Decoded]) -> list[int]:
    return sorted({one.running for one in decoded})


def _slope(decoded: Sequence[Decoded]) -> float:
    """Return seconds for each token that sequences have behind them, from counts measured at two lengths."""
    slopes = []
    for count in _counts(decoded):
        same = sorted((one for one in decoded if one.running == count), key=lambda one: one.context)
        if len(same) > 1 and same[-1].context > same[0].context:
            more = count * (same[-1].context - same[0].context)
            slopes.append(max((same[-1].step_s - same[0].step_s) / more, 0.0))
    return float(np.median(slopes)) if slopes else 0.0


def _not_negative(matrix: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """Return the least-squares solution without negative figures: of three unknowns, every choice is tried."""
    best, least = (0.0, 0.0, 0.0), np.inf
    weights = 1 / wanted  # shares, not seconds: a short prompt counts as much as a long one
    for chosen in ([0, 1, 2], [0, 1], [1, 2], [1], [0]):
        found = np.linalg.lstsq(matrix[:, chosen] * weights[:, None], wanted * weights, rcond=None)[0]
        if (found < 0).any():
            continue
        missed = float((((matrix[:, chosen] @ found) * weights - 1) ** 2).sum())
        if missed < least:
            least, filled = missed, np.zeros(3)
            filled[chosen] = found
            best = (float(filled[0]), float(filled[1]), float(filled[2]))
    return best
