"""Near copies of short texts by MinHash over characters (Broder 1997), a hundred thousand at once.

The same similarity as the line uses for examples: 4-grams of the normalised text, 16 bands of 8, Jaccard 0.9 or more.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from tokenworks.line.curate._texts import normalise

SIMILAR = 0.9
_PERMUTATIONS, _BANDS, _GRAM, _SEED = 128, 16, 4, 1
_ROWS = _PERMUTATIONS // _BANDS
_BLOCK = 4096
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth, vol. 3, 6.4)
_SHIFT = np.uint64(29)

Signatures = NDArray[np.uint32]  # [texts, _PERMUTATIONS]


def signatures(texts: Sequence[str]) -> Signatures:
    """Return a signature a text."""
    parts = [_signatures(texts[start : start + _BLOCK]) for start in range(0, len(texts), _BLOCK)]
    return np.concatenate(parts) if parts else np.zeros((0, _PERMUTATIONS), np.uint32)


def _signatures(texts: Sequence[str]) -> Signatures:
    data = [f" {normalise(text)} ".encode("utf-8", "replace") for text in texts]
    data = [each.ljust(_GRAM) for each in data]
    flat = np.frombuffer(b"".join(data), np.uint8).astype(np.uint64)
    sizes = np.array([len(each) - _GRAM + 1 for each in data], np.uint64)
    starts = np.concatenate([[0], np.cumsum([len(each) for each in data])])[:-1]
    places = np.repeat(starts, sizes.astype(np.int64)) + _counting(sizes)
    grams = np.zeros(len(places), np.uint64)
    for offset in range(_GRAM):
        grams = (grams ^ flat[places + offset]) * _MULTIPLIER
        grams ^= grams >> _SHIFT
    offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(sizes)])
    made = RMinHash.digest_matrix_from_flat_token_hashes(grams, offsets, _PERMUTATIONS, _SEED)
    return np.asarray(made.to_rows(), np.uint32).reshape(len(texts), _PERMUTATIONS)


def _counting(sizes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return 0, 1, ... up to each size, one after the other."""
    ends = np.cumsum(sizes.astype(np.int64))
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(
        ends - sizes.astype(np.int64), sizes.astype(np.int64)
    )


def copies(found: Signatures, kinds: Sequence[str]) -> dict[int, int]:
    """Return each row that is nearly the same as an earlier one of its kind, with that one."""
    kind = np.array([zlib.crc32(each.encode("utf-8", "surrogatepass")) for each in kinds], np.uint64)
    best: dict[int, int] = {}
    for band in range(_BANDS):
        first = _firsts(_keys(found, band) ^ (kind * _MULTIPLIER))
        rows = np.flatnonzero(first < np.arange(len(first)))
        same = (found[rows] == found[first[rows]]).mean(1) >= SIMILAR
        for row in rows[same]:
            best.setdefault(int(row), int(first[row]))
    return {row: of for row, of in sorted(best.items()) if kinds[row] == kinds[of]}


def like(found: Signatures, known: Signatures) -> NDArray[np.bool_]:
    """Return which rows of `found` are nearly the same as a row of `known`."""
    hits = np.zeros(len(found), bool)
    for band in range(_BANDS):
        keys = _keys(known, band)
        order = np.argsort(keys, kind="stable")
        mine = _keys(found, band)
        left = np.searchsorted(keys[order], mine, side="left")
        right = np.searchsorted(keys[order], mine, side="right")
        for row in np.flatnonzero((right > left) & ~hits):
            some = known[order[left[row] : right[row]]]
            hits[row] = bool(((some == found[row]).mean(1) >= SIMILAR).any())
    return hits


def _keys(found: Signatures, band: int) -> NDArray[np.uint64]:
    """Return a key a row: equal where the rows agree in the whole band."""
    keys = np.full(len(found), band, np.uint64)
    for place in range(band * _ROWS, (band + 1) * _ROWS):
        keys = (keys ^ found[:, place]) * _MULTIPLIER
        keys ^= keys >> _SHIFT
    return keys


def _firsts(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return for each row the first one with its key."""
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(firsts[inverse.reshape(-1)], np.int64)
