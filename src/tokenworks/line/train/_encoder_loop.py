"""The optimiser loop of the encoder: a fixed number of steps, resumed exactly where it was killed.

A step depends on its number and the weights alone: batches and dropout are drawn from (seed, step). So a checkpoint
is weights, moments and a number, and how often one is written cannot change the result.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokenworks.core.stage import Progress, silent
from tokenworks.line.train._checkpoint import load_tensors, save_tensors
from tokenworks.line.train._encoder_torch import Encoder
from tokenworks.line.train._uncompiled import uncompiled

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

CHECKPOINT_EVERY_S = 20.0
LAYER_DECAY = 0.9  # learning rate of a layer over that of the one above: low layers are general already
WEIGHT_DECAY = 0.01
WARM_UP = 0.1  # of the steps
MAX_NORM = 1.0  # of the gradient


@dataclass(frozen=True)
class Group:
    """Tensors that share a learning rate."""

    tensors: dict[str, Tensor]
    peak: float
    weight_decay: float = 0.0


def encoder_groups(encoder: Encoder, peak: float) -> list[Group]:
    """Return every tensor of the encoder with its rate: `peak` at the top, a tenth less with each layer down."""
    groups = []
    for name, tensor in encoder.weights.items():
        depth = int(name.split(".")[2]) + 1 if name.startswith("encoder.layer.") else 0
        rate = peak * LAYER_DECAY ** (encoder.config.num_hidden_layers - depth)
        matrix = tensor.ndim > 1 and name.startswith("encoder.")
        groups.append(Group({name: tensor}, rate, WEIGHT_DECAY if matrix else 0.0))
    return groups


def run(
    groups: list[Group], loss_of: Callable[[int], Tensor], steps: int, checkpoint: Path, progress: Progress
) -> list[float]:
    """Train the tensors of `groups` in place for `steps`; return the loss of every step.

    `loss_of(step)` makes the whole loss of a step. The learning rate rises over the first tenth and falls to 0.
    """
    import torch

    tensors = {name: tensor.requires_grad_(True) for group in groups for name, tensor in group.tensors.items()}
    optimiser = uncompiled(torch.optim.AdamW)(
        [
            {"params": [*group.tensors.values()], "lr": group.peak, "weight_decay": group.weight_decay}
            for group in groups
        ],
        betas=(0.9, 0.98),
        fused=True,
    )
    losses = _restore(checkpoint, tensors, optimiser)
    saved_at = time.monotonic()
    for step in range(len(losses), steps):
        for group, table in zip(groups, optimiser.param_groups, strict=True):
            table["lr"] = group.peak * _rate(step, steps)
        loss = loss_of(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors.values(), MAX_NORM)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        progress(step + 1, steps, unit="steps", note=f"loss {sum(losses[-50:]) / len(losses[-50:]):.3f}")
        if time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            _save(checkpoint, tensors, optimiser, losses)
            saved_at = time.monotonic()
    for tensor in tensors.values():
        tensor.requires_grad_(False)
    return losses


def steps_per_s(groups: list[Group], loss_of: Callable[[int], Tensor], *, warm: int, timed: int) -> float:
    """Return how fast `timed` real steps are, after `warm` others. It spoils the weights of `groups`."""
    began = 0.0

    def marked(step: int) -> Tensor:
        nonlocal began
        if step == warm:
            began = time.perf_counter()
        return loss_of(step)

    with tempfile.TemporaryDirectory() as folder:
        run(groups, marked, warm + timed, Path(folder) / "none", silent)
    return timed / (time.perf_counter() - began)


def _rate(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at `step`: linear up, then linear down."""
    warm = max(1, int(steps * WARM_UP))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _save(path: Path, tensors: dict[str, Tensor], optimiser: Optimizer, losses: list[float]) -> None:
    import torch

    kept = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for name, tensor in tensors.items():
        state = optimiser.state[tensor]
        kept |= {f"weight {name}": tensor, f"mean {name}": state["exp_avg"], f"square {name}": state["exp_avg_sq"]}
    save_tensors(path, kept)


def _restore(path: Path, tensors: dict[str, Tensor], optimiser: Optimizer) -> list[float]:
    """Load weights and moments of the checkpoint, if there is a whole one; return the losses so far."""
    import torch

    kept = load_tensors(path)
    if kept is None:
        return []
    losses: list[float] = kept["losses"].tolist()
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(kept[f"weight {name}"])
            optimiser.state[tensor] = {
                "step": torch.tensor(float(len(losses))),
                "exp_avg": kept[f"mean {name}"].clone(),
                "exp_avg_sq": kept[f"square {name}"].clone(),
            }
    return losses
