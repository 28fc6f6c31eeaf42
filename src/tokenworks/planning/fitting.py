"""The cost of an engine's steps from a minute of measuring it: its own curve in the place of priors.

Needed where no data sheet says what a machine does: the processor of a small server, an engine nobody measured.
Each figure comes from measurements in which little else moves; none comes from a trace.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import DataError
from tokenworks.planning.batching import Cost

MOST_ROUNDS = 8  # steps on the way into a batch: more is a wait for something else


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """So many sequences were running, with so many tokens behind each on average; a step took so long."""

    running: int
    context: float
    step_s: float


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A lone prompt of so many tokens had its first token after so long."""

    tokens: int
    ttft_s: float


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """So many answers ended `apart` steps one after the other; that took so much more than if all ended at once."""

    running: int
    apart: int
    context: float  # behind each on average
    more_s: float


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt of so many tokens came at any moment to sequences that were being written."""

    running: int
    context: float  # behind each of those on average
    tokens: int
    ttft_s: float


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """The cost, and how far it is from what it was made of, as a share."""

    cost: Cost
    error: float
    rounds: int = 0  # steps that a request lets pass on its way into a busy batch
    slowed: float = 1.0  # by what all loads took longer together than medians say: it is in the cost already


def slowed(fitted: Fitted, took_s: float, predicted_s: float) -> Fitted:
    """Return `fitted` for a machine on which loads took `took_s` in all where `fitted` says `predicted_s`.

    Medians forget what happens now and then; the sum of all loads does not. Never below what the medians say.
    """
    factor = max(took_s / predicted_s, 1.0)
    cost = fitted.cost
    times = {name: getattr(cost, name) * factor for name in ("prompt_s", "pair_s", "change_s", "serve_s")}
    steps = tuple(one * factor for one in cost.step_s)
    slopes = tuple(one * factor for one in cost.context_s)
    cost = msgspec.structs.replace(cost, step_s=steps, context_s=slopes, **times)
    return msgspec.structs.replace(fitted, cost=cost, slowed=fitted.slowed * factor)


def fit(
    decoded: Sequence[Decoded],
    read: Sequence[Read],
    most: int,
    *,
    step_tokens: float = math.inf,
    ended: Sequence[Ended] = (),
    joined: Sequence[Joined] = (),
) -> Fitted:
    """Return the cost whose steps are those measured; raise `DataError` where too little was.

    `step_tokens` bounds a step, as in the scheduler. All that a lone prompt waits for besides its steps counts as the
    engine's own time: handling and steps have one thread. Without `ended` steps of another size cost no more, without
    `joined` a request is in the next step.
    """
    if len({one.running for one in decoded}) < 2 or len({one.tokens for one in read}) < 3:
        raise DataError("too little was measured: two numbers of sequences and three lengths of prompts at the least")
    slopes = _slopes(decoded, most)
    cost = Cost(step_s=(0.0, *_steps(decoded, slopes, most)), context_s=slopes, prompt_s=0.0)
    cost = msgspec.structs.replace(cost, change_s=_change(ended, cost))
    cost = _reading(read, step_tokens, cost)
    rounds = min(max(round(_middle(_rounds(one, cost) for one in joined)), 0), MOST_ROUNDS)
    missed = [abs(_lone_s(one.tokens, step_tokens, cost) / one.ttft_s - 1) for one in read]
    missed += [abs(_joined_s(one, rounds, cost) / one.ttft_s - 1) for one in joined]
    return Fitted(cost=cost, error=float(np.median(missed)), rounds=rounds)


def _counts(decoded: Sequence[Decoded]) -> list[int]:
    return sorted({one.running for one in decoded})


def _steps(decoded: Sequence[Decoded], slopes: Sequence[float], most: int) -> list[float]:
    """Return what a step takes with 1, 2, ... `most` sequences that have nothing behind them."""
    short = [min((d for d in decoded if d.running == n), key=lambda one: one.context) for n in _counts(decoded)]
    counts = [one.running for one in short]
    past = [slopes[min(one.running, most)] * one.running * one.context for one in short]
    flat = [max(one.step_s - behind, 0.2 * one.step_s) for one, behind in zip(short, past, strict=True)]
    # Past the last measured count a step grows as between the last two.
    beyond = max((flat[-1] - flat[-2]) / (counts[-1] - counts[-2]), 0.0)
    return [
        float(np.interp(n, counts, flat)) if n <= counts[-1] else flat[-1] + beyond * (n - counts[-1])
        for n in range(1, most + 1)
    ]


def _slopes(decoded: Sequence[Decoded], most: int) -> tuple[float, ...]:
    """Return seconds for each token behind so many sequences, from the counts that were measured at two lengths."""
    slopes = {}
    for count in _counts(decoded):
        same = sorted((one for one in decoded if one.running == count), key=lambda one: one.context)
        if len(same) > 1 and same[-1].context > same[0].context:
            more = count * (same[-1].context - same[0].context)
            slopes[count] = max((same[-1].step_s - same[0].step_s) / more, 0.0)
    if not slopes:
        return (0.0,) * (most + 1)
    return (0.0, *np.interp(range(1, most + 1), list(slopes), list(slopes.values())).tolist())


def _change(ended: Sequence[Ended], cost: Cost) -> float:
    """Return what a step costs more whose size is not that of the one before: every end but the first makes one."""

    def each(one: Ended) -> float:
        steps = sum(one.apart * _decode_s(n, one.context, cost) for n in range(1, one.running))
        return (one.more_s - steps) / (one.running - 1)

    return max(_middle(each(one) for one in ended if one.running > 1), 0.0)


def _reading(read: Sequence[Read], step_tokens: float, cost: Cost) -> Cost:
    """Return `cost` with what prompts take: each step of prompts alone, each token, each pair, and once a request."""
    tokens = np.array([one.tokens for one in read], float)
    steps = np.ceil(tokens / step_tokens) if math.isfinite(step_tokens) else np.ones_like(tokens)
    changed = np.array([_changes(one.tokens, step_tokens) for one in read]) * cost.change_s
    came = np.maximum([one.ttft_s for one in read] - changed, 0.1 * np.array([one.ttft_s for one in read]))
    several = steps.max() > steps.min()  # else a step of its own cannot be told from what comes before it
    columns = [np.ones_like(tokens), tokens, tokens**2 / 2, *([steps] if several else [])]
    base, each, pair, *own = _not_negative(np.stack(columns, 1), came)
    alone = own[0] if several else min(base, cost.step_s[1])
    return msgspec.structs.replace(
        cost,
        step_s=(alone, *cost.step_s[1:]),
        prompt_s=each,
        pair_s=pair,
        serve_s=base if several else base - alone,
    )


def _decode_s(running: int, context: float, cost: Cost) -> float:
    return cost.step_s[running] + cost.context_s[running] * running * context


def _read_s(tokens: float, cost: Cost) -> float:
    return tokens * cost.prompt_s + tokens**2 / 2 * cost.pair_s


def _changes(tokens: int, step_tokens: float) -> int:
    """Return how many steps of a prompt alone have another size than the one before: the first, and the rest."""
    return 1 + (tokens > step_tokens and tokens % step_tokens != 0)


def _lone_s(tokens: int, step_tokens: float, cost: Cost) -> float:
    steps = math.ceil(tokens / step_tokens) if math.isfinite(step_tokens) else 1
    own = steps * cost.step_s[0] + _changes(tokens, step_tokens) * cost.change_s + _read_s(tokens, cost)
    return cost.serve_s + own


def _rounds(one: Joined, cost: Cost) -> float:
    """Return how many steps passed besides half of the one under way, on average, and the prompt's own."""
    step = _decode_s(one.running, one.context, cost)
    return (one.ttft_s - _joined_s(one, 0, cost)) / step


def _joined_s(one: Joined, rounds: int, cost: Cost) -> float:
    step = _decode_s(one.running, one.context, cost)
    own = step + cost.change_s + _read_s(one.tokens, cost)
    return cost.serve_s + (0.5 + rounds) * step + own


def _middle(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.median(found)) if found else 0.0


def _not_negative(matrix: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> list[float]:
    """Return the least-squares solution without negative figures: every choice of unknowns is tried."""
    unknowns = matrix.shape[1]
    best, least = [0.0] * unknowns, np.inf
    weights = 1 / wanted  # shares, not seconds: a short prompt counts as much as a long one
    sizes = range(1, unknowns + 1)
    for chosen in itertools.chain.from_iterable(itertools.combinations(range(unknowns), size) for size in sizes):
        found = np.linalg.lstsq(matrix[:, chosen] * weights[:, None], wanted * weights, rcond=None)[0]
        if (found < 0).any():
            continue
        missed = float((((matrix[:, chosen] @ found) * weights - 1) ** 2).sum())
        if missed < least:
            least, best = missed, [0.0] * unknowns
            for place, value in zip(chosen, found.tolist(), strict=True):
                best[place] = value
    return best
