"""The linear head over frozen sentence embeddings: fitted exactly, its strength, noise and temperature cross-validated.

Labels may be wrong: with probability `noise` a row carries any class (symmetric noise; forward correction of the
loss, Patrini 2017). A row that everything else contradicts then costs a bounded loss and stops to pull.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tokenworks.line.train._uncompiled import uncompiled

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # inverse L2 penalty on the summed loss, as scikit-learn's C
NOISES = (0.0, 0.05, 0.1, 0.2, 0.3)  # share of the labels that say nothing
FOLDS = 3
CV_ROWS = 4000  # more rows no longer change the choice, only its price
CV_CELLS = 1_000_000  # rows times classes; above, the usual strength is taken and only its temperature measured
USUAL = (30.0,)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What cross-validation said."""

    strength: float
    noise: float
    temperature: float
    accuracy: float
    nll: float
    rows: int


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with guessed labels that join a fit, each with a small weight."""

    embeddings: Tensor
    targets: Tensor
    weights: Tensor


def noisy_nll(logits: Tensor, targets: Tensor, noise: float) -> Tensor:
    """Return -log((1 - noise) p[target] + noise / classes) of each row, in nats."""
    import torch

    own = torch.log_softmax(logits, 1).gather(1, targets[:, None])[:, 0]
    if noise == 0:
        return -own
    floor = torch.full_like(own, math.log(noise / logits.shape[1]))
    return -torch.logaddexp(own + math.log1p(-noise), floor)


def fit_head(
    embeddings: Tensor,
    targets: Tensor,
    classes: int,
    strength: float,
    *,
    noise: float = 0.0,
    weights: Tensor | None = None,
    extra: Extra | None = None,
) -> tuple[Tensor, Tensor]:
    """Return weight [classes, dim] and bias [classes] of multinomial logistic regression, by L-BFGS.

    `weights` [rows] says how much each row counts. With `noise` the loss is no longer convex: it starts from the fit
    without.
    """
    import torch

    counts = torch.ones(len(targets)) if weights is None else weights
    total = float(counts.sum())
    if extra is not None:
        embeddings, targets = torch.cat([embeddings, extra.embeddings]), torch.cat([targets, extra.targets])
        counts = torch.cat([counts, extra.weights])
    weight = torch.zeros(classes, embeddings.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solvers = uncompiled(torch.optim.LBFGS)
    for share in (0.0, noise) if noise else (0.0,):
        solver = solvers([weight, bias], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

        def loss(share: float = share, solver: torch.optim.LBFGS = solver) -> Tensor:
            solver.zero_grad()
            value = (counts * noisy_nll(embeddings @ weight.T + bias, targets, share)).sum() / total
            value = value + 0.5 / (strength * total) * weight.square().sum()
            value.backward()
            return value

        solver.step(loss)
    return weight.detach(), bias.detach()


def choose(embeddings: Tensor, targets: Tensor, classes: int, seed: int, *, weights: Tensor | None = None) -> Choice:
    """Return strength and noise with the least out-of-fold loss, and the temperature that calibrates the result.

    The strength is searched first, each with the noise that suits its logits; then the noise, fitted, at that strength.
    """
    rows, folds = sampled(targets, seed)
    truth, few = targets[rows], len(rows) * classes <= CV_CELLS
    best: Choice | None = None
    for strength in STRENGTHS if few else USUAL:
        logits = out_of_fold(embeddings, targets, classes, rows, folds, strength, weights=weights)
        found = _least(logits, truth, strength, NOISES)
        if best is not None and found.nll > best.nll:
            break  # the loss has one valley over the strengths
        best = found
    assert best is not None
    fitted: Choice | None = None
    for noise in NOISES if few else sorted({0.0, best.noise}):
        logits = out_of_fold(embeddings, targets, classes, rows, folds, best.strength, noise=noise, weights=weights)
        found = _least(logits, truth, best.strength, (noise,))
        if fitted is not None and found.nll >= fitted.nll:
            break
        fitted = found
    assert fitted is not None
    return fitted


def sampled(targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows that cross-validation looks at, and their fold numbers."""
    import torch

    rows = torch.from_numpy(np.random.default_rng([seed, 1]).permutation(len(targets))[:CV_ROWS])
    return rows, _folds(targets[rows])


def out_of_fold(
    embeddings: Tensor,
    targets: Tensor,
    classes: int,
    rows: Tensor,
    folds: Tensor,
    strength: float,
    *,
    noise: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Return logits [rows, classes], each row's by a head that has not seen it."""
    import torch

    logits = torch.zeros(len(rows), classes)
    for fold in range(FOLDS):
        learn, ask = rows[folds != fold], rows[folds == fold]
        counts = None if weights is None else weights[learn]
        weight, bias = fit_head(embeddings[learn], targets[learn], classes, strength, noise=noise, weights=counts)
        logits[folds == fold] = embeddings[ask] @ weight.T + bias
    return logits


def _least(logits: Tensor, targets: Tensor, strength: float, noises: tuple[float, ...]) -> Choice:
    """Return the settings among `noises` with the least calibrated loss."""
    found = []
    for noise in noises:
        temperature = calibrate(logits, targets, noise)
        accuracy, nll = judge(logits / temperature, targets, noise)
        found.append(
            Choice(
                strength=strength, noise=noise, temperature=temperature, accuracy=accuracy, nll=nll, rows=len(targets)
            )
        )
    return min(found, key=lambda one: one.nll)


def _folds(targets: Tensor) -> torch.Tensor:
    """Return a fold number for each row, every class spread evenly."""
    import torch

    order = torch.argsort(targets, stable=True)
    folds = torch.empty(len(targets), dtype=torch.int64)
    folds[order] = torch.arange(len(targets)) % FOLDS
    return folds


def calibrate(logits: Tensor, targets: Tensor, noise: float = 0.0) -> float:
    """Return the temperature in [0.1, 10] with the least loss on held-out rows (Guo 2017, section 4.2)."""
    grid = np.geomspace(0.1, 10, 81)
    losses = [judge(logits / float(value), targets, noise)[1] for value in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


def judge(logits: Tensor, targets: Tensor, noise: float = 0.0) -> tuple[float, float]:
    """Return accuracy and mean negative log-likelihood in nats, of labels of which a share of `noise` says nothing."""
    accuracy = float((logits.argmax(1) == targets).float().mean())
    return accuracy, float(noisy_nll(logits, targets, noise).mean())
