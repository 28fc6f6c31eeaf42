"""A cheap model of which label belongs to which text, and how surprising a given label is. Knows vectors, no people.

Ridge regression onto one-hot labels; how surprising is a conformal p-value (Vovk 2005, chapter 4): the share of trusted
examples that fit their own labels at most as well, each judged by a model that has not seen it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenworks.flywheel.select.features import Vectors

PENALTY = 1.0  # measured on 77 classes: 0.1 to 3 differ by 2 points of recall at equal precision
FOLDS = 5
_BLOCK = 8192
Numbers = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What a model says of given labels."""

    p: Shares  # conformal p-value of the label given: small means that hardly any trusted example fits so badly
    best: Numbers  # the label it would have given


@dataclass(frozen=True)
class Labelled:
    """Vectors with class numbers."""

    vectors: Vectors
    targets: Numbers


def by_trusted(trusted: Labelled, given: Labelled, classes: int) -> Judged:
    """Judge `given` by a model of the trusted examples alone: no feedback has a say in it.

    The trusted are judged leaving one out, in closed form (Allen 1974, PRESS).
    """
    gram, moments = _moments(trusted, classes)
    inverse: Shares = np.asarray(np.linalg.inv(gram + PENALTY * np.eye(len(gram))), np.float64)
    weights: Shares = inverse @ moments
    own = _extended(trusted.vectors)
    leverage = np.sum((own @ inverse) * own, axis=1, keepdims=True)
    fitted = own @ weights
    fitted[np.arange(len(fitted)), trusted.targets] -= leverage[:, 0]
    scores = fitted / np.maximum(1 - leverage, 1e-9)
    return _judged(_misfits(scores, trusted.targets)[0], *_scored(weights, given))


def by_everybody(
    trusted: Labelled, given: Labelled, folds: Numbers, learned: NDArray[np.bool_], classes: int
) -> Judged:
    """Judge all of `given` by models of the trusted and of the `learned` ones of `given`, each row by other folds.

    `folds` has a number below FOLDS a row: with a principal's rows in one fold nobody vouches for himself.
    """
    mine = np.arange(len(trusted.targets)) % FOLDS
    parts = [
        _moments(_part(trusted, mine == fold), classes, _part(given, (folds == fold) & learned))
        for fold in range(FOLDS)
    ]
    gram, moments = np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)
    known, misfits = np.zeros(len(trusted.targets)), np.zeros(len(given.targets))
    best = np.zeros(len(given.targets), np.int64)
    for fold, (own_gram, own_moments) in enumerate(parts):
        ridge = gram - own_gram + PENALTY * np.eye(len(own_gram))
        weights = np.asarray(np.linalg.solve(ridge, moments - own_moments), np.float64)
        known[mine == fold], _ = _scored(weights, _part(trusted, mine == fold))
        misfits[folds == fold], best[folds == fold] = _scored(weights, _part(given, folds == fold))
    return _judged(known, misfits, best)


def _part(some: Labelled, chosen: NDArray[np.bool_]) -> Labelled:
    return Labelled(some.vectors[chosen], some.targets[chosen])


def _moments(some: Labelled, classes: int, more: Labelled | None = None) -> tuple[Shares, Shares]:
    """Return X'X and X'Y of the rows with a constant column."""
    width = some.vectors.shape[1] + 1
    gram, moments = np.zeros((width, width)), np.zeros((classes, width))
    for rows in (some, more) if more is not None else (some,):
        for start in range(0, len(rows.targets), _BLOCK):
            block, targets = _extended(rows.vectors[start : start + _BLOCK]), rows.targets[start : start + _BLOCK]
            gram += block.T @ block
            order = np.argsort(targets, kind="stable")
            there, firsts = np.unique(targets[order], return_index=True)
            moments[there] += np.add.reduceat(block[order], firsts, axis=0)
    return gram, moments.T


def _extended(vectors: Vectors) -> Shares:
    return np.hstack([vectors.astype(np.float64), np.ones((len(vectors), 1))])


def _scored(weights: Shares, given: Labelled) -> tuple[Shares, Numbers]:
    """Return how badly each label fits, and the label that fits best; in blocks, for there may be many classes."""
    misfits, best = np.zeros(len(given.targets)), np.zeros(len(given.targets), np.int64)
    for start in range(0, len(given.targets), _BLOCK):
        chosen = slice(start, start + _BLOCK)
        misfits[chosen], best[chosen] = _misfits(_extended(given.vectors[chosen]) @ weights, given.targets[chosen])
    return misfits, best


def _misfits(scores: Shares, targets: Numbers) -> tuple[Shares, Numbers]:
    """Return by how much the best other label beats the given one, and which label is best."""
    rows, best = np.arange(len(scores)), scores.argmax(1)
    own = scores[rows, targets].copy()
    others = scores.copy()
    others[rows, targets] = -np.inf
    return others.max(1) - own, best


def _judged(known: Shares, misfits: Shares, best: Numbers) -> Judged:
    """Return p = (1 + trusted that fit as badly or worse) / (1 + trusted)."""
    at_least = len(known) - np.searchsorted(np.sort(known), misfits, side="left")
    return Judged((1 + at_least) / (len(known) + 1), best)
