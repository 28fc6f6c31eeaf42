"""From a budget to a recorded plan: measure this machine for some seconds, let the scaling law choose the size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import torch

from tokenworks.core import scaling
from tokenworks.line.train.causal.budget import Budget
from tokenworks.line.train.causal.llama import Llama, Shape, new_weights
from tokenworks.line.train.causal.optimiser import PARTS, Optimiser

# Muennighoff's form and exponents, the constants fitted on runs of this very loop (0.4-6 M parameters, 0.2-0.8 M
# tokens: decision 0043). The published ones come from models a thousand times larger and expect more than 12 nats here.
LAW = scaling.Law(floor=2.05, a=105.0, b=179.0, alpha=scaling.MUENNIGHOFF.alpha, beta=scaling.MUENNIGHOFF.beta)
MOST_EPOCHS = (
    16.0  # beyond, a pass over the same text is worth less than 40 % of a fresh one, and small corpora overfit
)
BATCH_TOKENS = 4096
FEWEST_STEPS = 200  # a smaller batch rather than fewer steps
_LADDER = (  # width, layers
    (64, 2), (128, 3), (192, 4), (256, 4), (320, 5), (384, 6),
    (512, 8), (640, 10), (768, 12), (1024, 16), (1536, 20), (2048, 24),
)  # fmt: skip


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate size: how fast it is here, how far it gets, and what the law expects of it."""

    width: int
    layers: int
    parameters: int
    tokens_per_s: float | None  # None: not tried, for a budget in tokens or operations goes as far at any speed
    tokens: int
    expected_loss: float  # nats per token on the law's own scale: for ranking only


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the weights, besides the documents; times are what was expected when it was made."""

    method: str
    why: str
    steps: int
    tokens: int
    parameters: int
    expected_s: float
    budget: str
    seed: int
    shape: Shape
    batch: int  # windows a step
    dtype: Literal["bfloat16", "float32"]
    threads: int
    vocabulary: int
    corpus_bytes: int
    share: float  # of the documents that will be read
    unique_tokens: int  # about, in that share
    epochs: float
    measured: list[Measured]


def ladder(vocabulary: int, context: int) -> Iterator[Shape]:
    """Yield sensible shapes from small to large: head width 64, feed-forward 2.75 times the width."""
    for width, layers in _LADDER:
        heads, hidden = max(1, width // 64), width * 11 // 4 // 32 * 32
        yield Shape(
            vocabulary=vocabulary,
            width=width,
            layers=layers,
            heads=heads,
            hidden=hidden,
            context=context,
            tied=False,
        )


def choose(
    shapes: list[Shape],
    budget: Budget,
    unique: float,
    *,
    seconds: float,
    speed: Callable[[Shape], float],
) -> tuple[Shape, list[Measured]]:
    """Return the shape with the lowest expected loss, and the candidates measured on the way.

    Starts from the size that the law would take on a machine without overheads and walks towards lower loss. Of a
    budget in tokens it takes that size: at equal tokens a larger model always promises less loss, at any price. Where
    the budget is time, `speed` (tokens per second) is measured for each size looked at; else for the one taken, to
    foretell how long it takes. `seconds` is what training itself may take.
    """
    seen: dict[int, Measured] = {}

    def look(index: int) -> Measured:
        if index not in seen:
            rate = speed(shapes[index]) if budget.kind == "seconds" else None
            seen[index] = _measured(shapes[index], budget, unique, seconds, rate)
        return seen[index]

    place = _first_guess(shapes, budget, unique, seconds)
    best = look(place)
    for step in () if budget.kind == "tokens" else (-1, 1):
        while 0 <= place + step < len(shapes) and look(place + step).expected_loss < best.expected_loss:
            place += step
            best = seen[place]
    if best.tokens_per_s is None:
        seen[place] = msgspec.structs.replace(best, tokens_per_s=round(speed(shapes[place]), 1))
    return shapes[place], [seen[index] for index in sorted(seen)]


def _first_guess(shapes: list[Shape], budget: Budget, unique: float, seconds: float) -> int:
    flops = budget.amount if budget.kind == "flops" else seconds * 4e11
    if budget.kind == "tokens":
        wanted = scaling.parameters_for(LAW, scaling.effective_tokens(budget.amount, unique))
    else:
        wanted = scaling.compute_optimal(LAW, flops).parameters
    return min(range(len(shapes)), key=lambda index: abs(shapes[index].multiplied / wanted - 1))


def _measured(shape: Shape, budget: Budget, unique: float, seconds: float, rate: float | None) -> Measured:
    affordable = {
        "seconds": (rate or 0.0) * seconds,
        "flops": budget.amount / (scaling.FLOPS_PER_WEIGHT * shape.multiplied),
        "tokens": budget.amount,
    }[budget.kind]
    tokens = max(1.0, min(affordable, MOST_EPOCHS * unique))
    expected = scaling.data_constrained_loss(LAW, shape.multiplied, tokens, unique)
    return Measured(
        width=shape.width, layers=shape.layers, parameters=shape.parameters,
        tokens_per_s=None if rate is None else round(rate, 1), tokens=int(tokens), expected_loss=round(expected, 4),
    )  # fmt: skip


def windows_per_step(tokens: float, context: int) -> int:
    """Return the batch: 4,096 tokens, or less where that would leave too few steps."""
    return max(1, min(BATCH_TOKENS, int(tokens / FEWEST_STEPS)) // context)


def tokens_per_s(shape: Shape, batch: int, dtype: torch.dtype, *, seconds: float) -> float:
    """Measure whole training steps (forward, backward, optimiser) of `shape` for about `seconds`.

    The quicker quarter of the steps counts: a neighbour's burst during one candidate must not decide between sizes.
    """
    model = Llama(shape, dtype)
    optimiser = Optimiser(new_weights(shape, 0), dtype, parts=PARTS, decay=0.0)
    rng = torch.Generator().manual_seed(0)
    rows = torch.randint(shape.vocabulary, (batch, shape.context + 1), generator=rng)
    times: list[float] = []
    started = time.monotonic()
    while len(times) < 3 or time.monotonic() - started < seconds:
        begun = time.monotonic()
        model.loss(optimiser.working, rows[:, :-1], rows[:, 1:]).backward()
        optimiser.step(matrix_rate=0.0, table_rate=0.0, clip=1.0)
        times.append(time.monotonic() - begun)
    usual = sorted(times[1:])[len(times[1:]) // 4]
    return batch * shape.context / usual


def faster_type() -> Literal["bfloat16", "float32"]:
    """Return bfloat16 where this machine multiplies it at least 1.3 times as fast as float32."""
    rates = {dtype: _product_s(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return "bfloat16" if rates[torch.bfloat16] * 1.3 < rates[torch.float32] else "float32"


def _product_s(dtype: torch.dtype) -> float:
    one = torch.ones(1024, 512, dtype=dtype)
    times: list[float] = []
    for _ in range(6):
        begun = time.monotonic()
        one @ one.t()
        times.append(time.monotonic() - begun)
    return min(times)
