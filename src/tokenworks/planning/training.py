"""What a training budget is best spent on: alone, with little data, or for a model that will answer a great deal.

The laws are `core/scaling.py`; this splits budgets by them and turns operations into hours and money.
"""

from __future__ import annotations

import msgspec
import numpy as np

from tokenworks.core.errors import ConfigError
from tokenworks.core.scaling import (
    BESIROGLU,
    FLOPS_PER_WEIGHT,
    MUENNIGHOFF,
    Law,
    compute_optimal,
    data_constrained_loss,
    loss,
    repeat_value,
)
from tokenworks.planning.machine import Machine

FORWARD = 2  # operations for each weight and token that a model answers with: Kaplan 2020 (arXiv 2001.08361), 2.1
ADAPTER = 4  # of training beside frozen weights: forward 2, and 2 of the backward that pass them on
GRID = 4001


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A model size, how much it reads, and what that takes."""

    why: str
    parameters: float
    tokens: float
    loss: float  # nats per token of the law's own data: to rank plans, not to promise
    train_flops: float
    serve_flops: float = 0.0
    epochs: float = 1.0

    @property
    def flops(self) -> float:
        """Return operations of training and serving together."""
        return self.train_flops + self.serve_flops


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """What operations take on some machines."""

    device_hours: float
    hours: float
    usd: float | None


def optimal(flops: float, law: Law = BESIROGLU) -> Budget:
    """Return the split of `flops` that reaches the lowest loss on fresh data."""
    _positive(flops=flops)
    found = compute_optimal(law, flops)
    return Budget(
        why="compute-optimal",
        parameters=found.parameters,
        tokens=found.tokens,
        loss=loss(law, found.parameters, found.tokens),
        train_flops=flops,
    )


def constrained(flops: float, unique: float) -> Budget:
    """Return the split of `flops` where there are only `unique` tokens, read as often as it pays (Muennighoff 2023)."""
    _positive(flops=flops, unique=unique)
    free = compute_optimal(MUENNIGHOFF, flops).parameters
    sizes = np.geomspace(free / 1000, free * 30, GRID)
    losses = [data_constrained_loss(MUENNIGHOFF, n, flops / FLOPS_PER_WEIGHT / n, unique) for n in sizes.tolist()]
    best = int(np.argmin(losses))
    tokens = flops / FLOPS_PER_WEIGHT / float(sizes[best])
    return Budget(
        why=f"with {unique:.3g} unique tokens",
        parameters=float(sizes[best]),
        tokens=tokens,
        loss=losses[best],
        train_flops=flops,
        epochs=max(tokens / unique, 1.0),
    )


def served(flops: float, answers: float, law: Law = BESIROGLU) -> Budget:
    """Return the size that reaches the loss of `optimal(flops)` with the fewest operations in training and serving.

    `answers` tokens are read and written in the model's life (Sardana 2024, arXiv 2401.00448, eq. 3).
    """
    _positive(flops=flops)
    if not (np.isfinite(answers) and answers >= 0):
        raise ConfigError(f"--served {answers:g}: give the tokens of the model's life, 0 or more")
    goal = optimal(flops, law)
    # Below this size no amount of data reaches the loss.
    least = (law.a / (goal.loss - law.floor)) ** (1 / law.alpha)
    sizes = np.geomspace(least * 1.001, goal.parameters * 10, GRID)
    tokens = (law.b / (goal.loss - law.floor - law.a / sizes**law.alpha)) ** (1 / law.beta)
    total = FLOPS_PER_WEIGHT * sizes * tokens + FORWARD * sizes * answers
    best = int(np.argmin(total))
    return Budget(
        why=f"as good, for {answers:.3g} tokens served",
        parameters=float(sizes[best]),
        tokens=float(tokens[best]),
        loss=goal.loss,
        train_flops=float(FLOPS_PER_WEIGHT * sizes[best] * tokens[best]),
        serve_flops=float(FORWARD * sizes[best] * answers),
    )


def tuning_flops(parameters: float, tokens: float, *, adapter: bool) -> float:
    """Return operations of fine-tuning `parameters` on `tokens`: all of them, or an adapter beside them."""
    _positive(parameters=parameters, tokens=tokens)
    return (ADAPTER if adapter else FLOPS_PER_WEIGHT) * parameters * tokens


def effort(flops: float, machine: Machine, devices: int, share: float) -> Effort:
    """Return how long `flops` take on `devices` that reach `share` of their data sheet in bf16, and the rent."""
    if devices < 1 or not 0 < share <= 1:
        raise ConfigError(f"{devices} devices at a share of {share:g}: give at least one, and a share above 0 up to 1")
    hours = flops / (machine.flops("bf16") * share) / 3600
    usd = hours * machine.rent_usd_h if machine.rent_usd_h is not None else None
    return Effort(device_hours=hours, hours=hours / devices, usd=usd)


def lines(budgets: list[Budget], efforts: list[Effort]) -> list[str]:
    """Return the budgets as aligned text."""
    out = [f"{'plan':<36} {'parameters':>11} {'tokens':>9} {'loss':>7} {'FLOP':>9} {'device-h':>10} {'USD':>12}"]
    for one, took in zip(budgets, efforts, strict=True):
        money = f"{took.usd:,.0f}" if took.usd is not None else "-"
        out.append(
            f"{one.why:<36} {one.parameters:>11.3g} {one.tokens:>9.3g} {one.loss:>7.3f} {one.flops:>9.2g} "
            f"{took.device_hours:>10,.1f} {money:>12}"
        )
        if one.epochs > 1.01:
            value = repeat_value(one.epochs)
            out.append(
                f"  {one.epochs:.1f} passes over the data; a token is worth {value:.0%} of a fresh one on average"
            )
    return out


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value:g}; give a number above zero")
