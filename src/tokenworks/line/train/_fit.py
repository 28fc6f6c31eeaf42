"""The loop that moves weights, whatever the objective: AdamW, checkpoints, resumable to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenworks.core.errors import DataError
from tokenworks.core.stage import Progress
from tokenworks.line.train._checkpoint import load_tensors, save_tensors
from tokenworks.line.train._uncompiled import uncompiled
from tokenworks.line.train.causal.allocator import kept_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKPOINT_EVERY_S = 20.0
CLIP = 1.0
WARMUP = 0.05  # of all steps

Objective = Callable[[], "tuple[Tensor, tuple[float, ...]]"]
Told = tuple[float, ...]  # the loss of a step, then the objective's own figures


def fit(
    trained: Mapping[str, nn.Parameter], objectives: Iterator[Objective], *, steps: int, learning_rate: float,
    seed: int, checkpoint: Path, threads: int, progress: Progress,
) -> list[Told]:  # fmt: skip
    """Make `objectives` smaller, one a step; return what each step told.

    A file at `checkpoint` is taken up where it ends. What a step does may depend on the weights, the optimiser's state,
    the generator seeded for it and its number alone: then a killed run ends in the same weights (same machine and
    number of threads). Raises `DataError` at the first loss, gradient or weight that is no number.
    """
    import torch  # heavy: only training pays for it

    torch.set_num_threads(threads)
    optimiser = uncompiled(torch.optim.AdamW)(trained.values(), lr=learning_rate, weight_decay=0.0, fused=True)
    told = _restore(checkpoint, trained, optimiser)
    saved = started = time.monotonic()
    done_before = len(told)
    with kept_memory():
        for step, objective in zip(range(steps), objectives, strict=False):
            if step < done_before:
                continue
            torch.manual_seed(seed * 1_000_003 + step)  # dropout and samples: the state to resume is the step
            rate = learning_rate * schedule(step, steps)
            told.append(_step(trained, optimiser, objective, rate, step))
            now = time.monotonic()
            speed = (step + 1 - done_before) / (now - started)
            progress(step + 1, steps, unit="steps", note=f"loss {told[-1][0]:.3f}, {speed:.2f} steps/s")
            if now - saved > CHECKPOINT_EVERY_S:
                _save(checkpoint, trained, optimiser, told)
                saved = now
    for name, value in trained.items():
        if not bool(torch.isfinite(value).all()):
            raise DataError(f"the weights {name} are no numbers after {steps} steps: lower the learning rate")
    return told


def _step(trained: Mapping[str, nn.Parameter], optimiser: Any, objective: Objective, rate: float, step: int) -> Told:
    """Move the weights once; return the loss before the move and the objective's figures."""
    import torch

    loss, figures = objective()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DataError(f"the loss is {value} at step {step}: lower learning_rate from {rate:g}")
    if loss.requires_grad:  # an objective with nothing to learn from in this step gives a constant
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(trained.values(), CLIP))
        if not math.isfinite(norm):
            raise DataError(f"the gradient is {norm} at step {step}: lower learning_rate from {rate:g}")
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return (value, *figures)


def schedule(step: int, steps: int) -> float:
    """Return the share of the learning rate at `step`: a short linear warm-up, then linearly down to nothing."""
    warmup = max(1, round(WARMUP * steps))
    return min(1.0, (step + 1) / warmup) * (1 - step / steps)


def _save(path: Path, trained: Mapping[str, nn.Parameter], optimiser: Any, told: list[Told]) -> None:
    import torch

    tensors = {"told": torch.tensor(told, dtype=torch.float64)}
    for name, value in trained.items():
        tensors[f"weight.{name}"] = value.data
        if state := optimiser.state.get(value):  # none before the first step that had something to learn from
            tensors |= {f"m.{name}": state["exp_avg"], f"v.{name}": state["exp_avg_sq"], f"step.{name}": state["step"]}
    save_tensors(path, tensors)


def _restore(path: Path, trained: Mapping[str, nn.Parameter], optimiser: Any) -> list[Told]:
    """Put the checkpoint at `path` back and return what was told so far; without a whole checkpoint, start anew."""
    tensors = load_tensors(path)
    if tensors is None or "told" not in tensors or any(f"weight.{name}" not in tensors for name in trained):
        return []
    for name, value in trained.items():
        value.data.copy_(tensors[f"weight.{name}"])
        if f"m.{name}" in tensors:
            optimiser.state[value] = {
                "step": tensors[f"step.{name}"],
                "exp_avg": tensors[f"m.{name}"],
                "exp_avg_sq": tensors[f"v.{name}"],
            }
    return [tuple(float(figure) for figure in row) for row in tensors["told"]]
