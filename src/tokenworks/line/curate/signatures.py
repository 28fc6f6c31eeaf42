"""MinHash signatures of texts (Broder 1997): near copies agree in most places of theirs.

Word 5-grams and 14 bands of 8, as datatrove's defaults; rensa's R-MinHash over 64-bit hashes made here without a string
for each n-gram.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rensa import RMinHash

BANDS = 14
ROWS = 8
PERMUTATIONS = BANDS * ROWS
_NGRAM = 5
_SEED = 1
_WORDS = re.compile(r"[^\w]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads sums over all bits (Knuth, vol. 3, 6.4)
_SHIFT = np.uint64(29)

Signatures = npt.NDArray[np.uint32]  # [documents, PERMUTATIONS]


def signatures(texts: Sequence[str]) -> Signatures:
    """Return a signature a text, [len(texts), PERMUTATIONS]."""
    hashes = [shingles(text) for text in texts]
    offsets = np.zeros(len(hashes) + 1, dtype=np.uint64)
    offsets[1:] = np.cumsum([len(each) for each in hashes])
    flat = np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, PERMUTATIONS, _SEED)
    return np.asarray(matrix.to_rows(), dtype=np.uint32).reshape(len(hashes), PERMUTATIONS)


def shingles(text: str) -> npt.NDArray[np.uint64]:
    """Return the distinct hashes of the word 5-grams of `text` (of all its words where it has fewer)."""
    words = _WORDS.sub(" ", text.lower()).encode("utf-8", "replace").split()
    if not words:
        return np.zeros(1, dtype=np.uint64)
    hashed = np.fromiter(map(zlib.crc32, words), dtype=np.uint64, count=len(words))
    width = min(_NGRAM, len(words))
    count = len(words) - width + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for offset in range(width):
        mixed = (mixed ^ hashed[offset : offset + count]) * _MULTIPLIER
        mixed ^= mixed >> _SHIFT
    return np.unique(mixed)


def similarity(left: Signatures, right: Signatures) -> float:
    """Return the share of places in which two signatures agree: an estimate of the Jaccard index, +-0.05."""
    return float(np.count_nonzero(left == right)) / PERMUTATIONS
