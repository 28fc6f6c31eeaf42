"""Which of many examples stand for all of them: one from the middle of each cluster of questions, always the same."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

WIDTH = 1024  # of the hashed vectors
MOST = 4000  # questions that are compared
ROUNDS = 10
_WORD = re.compile(r"\w+")
Vectors = npt.NDArray[np.float32]


def spread(texts: Sequence[str], count: int) -> list[int]:
    """Return the places of `count` texts that are far apart and typical, at most as many as there are different ones.

    k-means on hashed, idf-weighted words, begun from points far apart (Gonzalez 1985), then the text next to each
    centre, the largest cluster first: examples that cover the questions, as Zhang 2022 (Auto-CoT) chooses them.
    """
    known = list(dict.fromkeys(texts))[:MOST]
    if count <= 0 or not known:
        return []
    vectors = hashed(known)
    centres = vectors[_far_apart(vectors, min(count, len(known)))]
    for _ in range(ROUNDS):
        mine = (vectors @ centres.T).argmax(axis=1)
        means = np.stack([vectors[mine == place].mean(axis=0) if (mine == place).any() else centre
                          for place, centre in enumerate(centres)])  # fmt: skip
        centres = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    near = vectors @ centres.T
    mine = near.argmax(axis=1)
    sizes = np.bincount(mine, minlength=len(centres))
    first = {text: place for place, text in reversed(list(enumerate(texts)))}
    chosen = [
        int(np.where(mine == place, near[:, place], -2.0).argmax())
        for place in np.argsort(-sizes, kind="stable")
        if sizes[place]
    ]
    return [first[known[place]] for place in chosen]


def hashed(texts: Sequence[str]) -> Vectors:
    """Return a unit vector for each text [texts, WIDTH]: its words, rare ones heavier."""
    counts = np.zeros((len(texts), WIDTH), np.float32)
    for row, text in enumerate(texts):
        for word in _WORD.findall(text.casefold()):
            counts[row, zlib.crc32(word.encode()) % WIDTH] += 1
    idf = np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=0))) + 1
    weighted: Vectors = np.sqrt(counts) * idf.astype(np.float32)
    weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9)
    return weighted


def _far_apart(vectors: Vectors, count: int) -> list[int]:
    """Return `count` places, each the farthest from those before; the first is the most typical."""
    chosen = [int((vectors @ vectors.mean(axis=0)).argmax())]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        nearest[chosen] = 2.0
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen
