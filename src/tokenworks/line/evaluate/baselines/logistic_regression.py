"""Multinomial logistic regression with L2 penalty on TF-IDF words. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tokenworks.line.evaluate.baselines._bag_of_words import Floats, Ints, Rows, Vocabulary, numbered

# scikit-learn's C, the inverse of the penalty. Of 1, 3, 10, 30 and 100 it did best on banking77 (0.901) and on a third
# of its classes (0.953); choosing it anew on held-out rows cost twice the time and was not better.
STRENGTH = 10.0
MEMORY = 10  # pairs that L-BFGS remembers
Vector = npt.NDArray[np.float64]


def predict(texts: Sequence[str], labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Return the class of each text in `asked`, having learnt from `texts` and `labels`."""
    words = Vocabulary(texts)
    classes, numbers = numbered(labels)
    if len(classes) == 1:
        return classes * len(asked)
    rows = words.rows(texts)
    weights, bias = fit(rows, numbers, len(classes), c=STRENGTH)
    best = (words.rows(asked).times(weights) + bias).argmax(1)
    return [classes[number] for number in best]


def fit(rows: Rows, numbers: Ints, classes: int, *, c: float, tolerance: float = 1e-4) -> tuple[Floats, Floats]:
    """Return weights [words, classes] and bias [classes] that minimise mean log loss + |W|^2 / (2 c n).

    The objective, the unpenalised bias and the meaning of `c` are those of scikit-learn's `LogisticRegression`.
    """
    columns = rows.transposed()
    n, size = rows.height, rows.width * classes
    target = np.eye(classes, dtype=np.float32)[numbers]

    def loss_and_slope(at: Vector) -> tuple[float, Vector]:
        weights = at[:size].reshape(rows.width, classes)
        scores = rows.times(weights.astype(np.float32)) + at[size:].astype(np.float32)
        scores -= scores.max(1, keepdims=True)
        total = np.log(np.exp(scores).sum(1, keepdims=True))
        miss = np.exp(scores - total) - target
        loss = float((total[:, 0] - scores[np.arange(n), numbers]).mean()) + float(at[:size] @ at[:size]) / (2 * c * n)
        slope = np.concatenate([columns.times(miss).ravel() / n + at[:size] / (c * n), miss.sum(0) / n])
        return loss, slope.astype(np.float64)

    found = minimise(loss_and_slope, np.zeros(size + classes), tolerance=tolerance)
    return found[:size].reshape(rows.width, classes).astype(np.float32), found[size:].astype(np.float32)


def minimise(
    loss_and_slope: Callable[[Vector], tuple[float, Vector]], start: Vector, *, tolerance: float, steps: int = 300
) -> Vector:
    """Return the minimum of a smooth convex function by L-BFGS (Nocedal & Wright 2006, algorithm 7.4)."""
    at, (loss, slope) = start, loss_and_slope(start)
    pairs: list[tuple[Vector, Vector]] = []
    for _ in range(steps):
        if np.abs(slope).max() <= tolerance:
            break
        direction = _two_loops(slope, pairs)
        step = 1.0 if pairs else min(1.0, 1.0 / float(np.abs(slope).sum()))
        decrease = float(direction @ slope)
        while True:
            there = at + step * direction
            new_loss, new_slope = loss_and_slope(there)
            if new_loss <= loss + 1e-4 * step * decrease or step < 1e-10:
                break
            step /= 2
        if step < 1e-10:  # float32 products cannot resolve a smaller step: this is the minimum
            break
        moved, turned = there - at, new_slope - slope
        if moved @ turned > 1e-12:
            pairs = [*pairs[1 - MEMORY :], (moved, turned)]
        at, loss, slope = there, new_loss, new_slope
    return at


def _two_loops(slope: Vector, pairs: Sequence[tuple[Vector, Vector]]) -> Vector:
    """Return the L-BFGS direction: minus the inverse Hessian, as far as `pairs` know it, times the slope."""
    direction, shares = -slope, []
    for moved, turned in reversed(pairs):
        share = float(moved @ direction) / float(moved @ turned)
        direction = direction - share * turned
        shares.append(share)
    if pairs:
        moved, turned = pairs[-1]
        direction = direction * (float(moved @ turned) / float(turned @ turned))
    for (moved, turned), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + (share - float(turned @ direction) / float(moved @ turned)) * moved
    return direction
