"""The training loop: follows a plan step by step, checks on held-out text, and goes on exactly where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenworks.core.errors import TokenworksError
from tokenworks.core.stage import Progress
from tokenworks.line.train.causal.checkpoint import Progressed, fresh_copy, newest_checkpoint, write_checkpoint
from tokenworks.line.train.causal.llama import Llama, new_weights
from tokenworks.line.train.causal.optimiser import PARTS, Optimiser
from tokenworks.line.train.causal.packing import Tokens, Windows, held_out_windows
from tokenworks.line.train.causal.plan import Plan

MATRIX_RATE, TABLE_RATE = 0.02, 0.01
WARM_UP_STEPS = 20
COOLING = 0.4  # of the steps, linear to zero (WSD: Hu 2024, arXiv 2404.06395)
CLIP = 1.0
CHECKPOINT_S = 15.0
CHECKS = 16  # of held-out loss over the run
HELD_OUT_WINDOWS = 32
PATIENCE = 4  # checks in a row without a new best: stop, and take the best


@dataclass(frozen=True)
class Trained:
    """The weights of the best held-out check, and how they came about."""

    weights: dict[str, Tensor]
    progressed: Progressed
    stopped_early: bool
    resumed_from: int
    notes: list[str]


def train(
    plan: Plan,
    tokens: Tokens,
    held_out: Tokens,
    folder: Path,
    *,
    report: Progress,
    clock: Callable[[], float] = time.monotonic,
    checkpoint_s: float = CHECKPOINT_S,
) -> Trained:
    """Train as `plan` says, with checkpoints in `folder`; the weights do not depend on how often it was killed.

    Raises `TokenworksError` where the loss stops being a number.
    """
    run = _Run(plan, tokens, held_out, folder)
    resumed_from = run.progressed.step
    last = begun = clock()
    spent = run.progressed.seconds
    while run.progressed.step < plan.steps and not run.stopped:
        run.step()
        run.progressed.seconds = spent + clock() - begun
        report(run.progressed.step, plan.steps, unit="steps", note=run.story())
        if clock() - last >= checkpoint_s:
            run.save()
            last = clock()
    run.save()
    return Trained(run.final(), run.progressed, run.stopped, resumed_from, run.notes)


class _Run:
    """What changes from step to step."""

    def __init__(self, plan: Plan, tokens: Tokens, held_out: Tokens, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        dtype = torch.bfloat16 if plan.dtype == "bfloat16" else torch.float32
        context = plan.shape.context
        self._model = Llama(plan.shape, dtype)
        self._windows = Windows(tokens, context, plan.batch, plan.seed)
        self._held_out = held_out_windows(held_out, context, HELD_OUT_WINDOWS)
        self._every = max(1, plan.steps // CHECKS)
        self._optimiser = Optimiser(new_weights(plan.shape, plan.seed), dtype, parts=PARTS, decay=0.0)
        self._best: dict[str, Tensor] = {}
        self.progressed, self.notes = Progressed(), list[str]()
        if found := newest_checkpoint(folder):
            state, self.progressed, self.notes = found
            if state:
                self._best = {name[5:]: value for name, value in state.items() if name.startswith("best.")}
                self._optimiser.load(state, self.progressed.step)

    @property
    def stopped(self) -> bool:
        """Whether held-out loss has gone up for too long."""
        return self.progressed.worse >= PATIENCE

    def step(self) -> None:
        """Take one step, and look at held-out text where it is due."""
        number = self.progressed.step
        inputs, targets = (torch.from_numpy(rows) for rows in self._windows.at(number))
        loss = self._model.loss(self._optimiser.working, inputs, targets)
        loss.backward()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TokenworksError(
                f"pretraining: the loss became {value} at step {number + 1} of {self._plan.steps}; another seed or a "
                "larger budget usually helps, and a step before it is kept in the checkpoint"
            )
        rate = schedule(number, self._plan.steps)
        self._optimiser.step(matrix_rate=MATRIX_RATE * rate, table_rate=TABLE_RATE * rate, clip=CLIP)
        self.progressed.step = number + 1
        self.progressed.losses.append((number + 1, round(value, 4)))
        if self._held_out is not None and ((number + 1) % self._every == 0 or number + 1 == self._plan.steps):
            self._check(*self._held_out)

    def _check(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        now = self.progressed
        loss = _loss_of(self._model, self._optimiser.working, inputs, targets)
        now.held_out.append((now.step, round(loss, 4)))
        if now.best_loss is None or loss < now.best_loss:
            now.best_loss, now.best_step, now.worse = loss, now.step, 0
            self._best = fresh_copy(self._optimiser.working)
        else:
            now.worse += 1

    def save(self) -> None:
        """Write a checkpoint of everything that the next step depends on."""
        best = {f"best.{name}": value for name, value in self._best.items()}
        write_checkpoint(self._folder, self._optimiser.state() | best, self.progressed)

    def final(self) -> dict[str, Tensor]:
        """Return the weights of the best check, or the last ones where nothing is held out."""
        return self._best or fresh_copy(self._optimiser.working)

    def story(self) -> str:
        """Say in a few words how it goes."""
        now = self.progressed
        rate = now.step * self._plan.batch * self._plan.shape.context / max(now.seconds, 1e-9)
        held = f", held-out {now.held_out[-1][1]:.3f}" if now.held_out else ""
        return f"loss {now.losses[-1][1]:.3f}{held}, {rate:,.0f} tokens/s"


def schedule(step: int, steps: int) -> float:
    """Return the share of the full learning rate: warm-up, plateau, linear cooling to zero."""
    warm = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, steps // 10)))
    return warm * min(1.0, (steps - step) / max(1.0, COOLING * steps))


@torch.no_grad()  # type: ignore[untyped-decorator]
def _loss_of(model: Llama, weights: dict[str, Tensor], inputs: np.ndarray, targets: np.ndarray) -> float:
    total = 0.0
    for start in range(0, len(inputs), 8):
        rows, wanted = (torch.from_numpy(part[start : start + 8]) for part in (inputs, targets))
        total += float(model.loss(weights, rows, wanted)) * len(rows)
    return total / len(inputs)
