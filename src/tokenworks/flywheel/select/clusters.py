"""Groups of like texts, where there are no classes: k-means over vectors, the same for the same texts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tokenworks.flywheel.select.features import Vectors, unit

MOST = 64  # clusters
_PASSES = 12
_LEARNED = 20_000  # texts that the centres are found on
_BLOCK = 8192


def clusters(vectors: Vectors) -> NDArray[np.int64]:
    """Return a cluster number a row: spherical k-means (Dhillon 2001) with k = sqrt(n / 2), at most 64.

    The first centre is the row nearest to the mean, each next one the row farthest from all before (Gonzalez 1985).
    """
    count = min(MOST, max(1, math.isqrt(len(vectors) // 2)))
    if len(vectors) <= 1 or count == 1:
        return np.zeros(len(vectors), np.int64)
    some = vectors[:: max(1, len(vectors) // _LEARNED)]
    centres = _first_centres(some, count)
    for _ in range(_PASSES):
        mine = _nearest(some, centres)
        sums = np.zeros((count, vectors.shape[1]))
        np.add.at(sums, mine, some)
        empty = np.linalg.norm(sums, axis=1) == 0
        sums[empty] = centres[empty]
        moved = unit(sums)
        if np.allclose(moved, centres, atol=1e-5):
            break
        centres = moved
    return _nearest(vectors, centres)


def _first_centres(vectors: Vectors, count: int) -> Vectors:
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    best = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(best.argmin()))
        best = np.maximum(best, vectors @ vectors[chosen[-1]])
    return vectors[chosen]


def _nearest(vectors: Vectors, centres: Vectors) -> NDArray[np.int64]:
    parts = [(vectors[start : start + _BLOCK] @ centres.T).argmax(1) for start in range(0, len(vectors), _BLOCK)]
    return np.concatenate(parts).astype(np.int64)
