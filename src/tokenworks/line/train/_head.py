"""The linear head over frozen sentence embeddings: fitted exactly, its strength and temperature cross-validated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)  # inverse L2 penalty on the summed loss, as scikit-learn's C
FOLDS = 3
CV_ROWS = 4000  # more rows no longer change the choice, only its price
CV_CELLS = 1_000_000  # rows times classes; above, the usual strength is taken and only its temperature measured
USUAL = (30.0,)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What cross-validation said."""

    strength: float
    temperature: float
    accuracy: float
    nll: float
    rows: int


def fit_head(embeddings: Tensor, targets: Tensor, classes: int, strength: float) -> tuple[Tensor, Tensor]:
    """Return weight [classes, dim] and bias [classes] of multinomial logistic regression, by L-BFGS."""
    import torch
    from torch.nn.functional import cross_entropy

    weight = torch.zeros(classes, embeddings.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, history_size=10, line_search_fn="strong_wolfe")
    penalty = 0.5 / (strength * len(targets))

    def loss() -> Tensor:
        solver.zero_grad()
        value = cross_entropy(embeddings @ weight.T + bias, targets) + penalty * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return weight.detach(), bias.detach()


def choose(embeddings: Tensor, targets: Tensor, classes: int, seed: int) -> Choice:
    """Return the strength with the least out-of-fold loss, and the temperature that calibrates its probabilities."""
    import torch

    rows = torch.from_numpy(np.random.default_rng([seed, 1]).permutation(len(targets))[:CV_ROWS])
    folds = _folds(targets[rows])
    best: Choice | None = None
    for strength in STRENGTHS if len(rows) * classes <= CV_CELLS else USUAL:
        logits = torch.zeros(len(rows), classes)
        for fold in range(FOLDS):
            learn, ask = rows[folds != fold], rows[folds == fold]
            weight, bias = fit_head(embeddings[learn], targets[learn], classes, strength)
            logits[folds == fold] = embeddings[ask] @ weight.T + bias
        temperature = calibrate(logits, targets[rows])
        accuracy, nll = judge(logits / temperature, targets[rows])
        if best is None or nll < best.nll:
            best = Choice(strength=strength, temperature=temperature, accuracy=accuracy, nll=nll, rows=len(rows))
    assert best is not None
    return best


def _folds(targets: Tensor) -> torch.Tensor:
    """Return a fold number for each row, every class spread evenly."""
    import torch

    order = torch.argsort(targets, stable=True)
    folds = torch.empty(len(targets), dtype=torch.int64)
    folds[order] = torch.arange(len(targets)) % FOLDS
    return folds


def calibrate(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature in [0.1, 10] with the least loss on held-out rows (Guo 2017, section 4.2)."""
    grid = np.geomspace(0.1, 10, 81)
    losses = [judge(logits / float(value), targets)[1] for value in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


def judge(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return accuracy and mean negative log-likelihood in nats."""
    from torch.nn.functional import cross_entropy

    accuracy = float((logits.argmax(1) == targets).float().mean())
    return accuracy, float(cross_entropy(logits, targets))
