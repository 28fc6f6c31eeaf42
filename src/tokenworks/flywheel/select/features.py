"""Texts as vectors for the cheap models of the guards: hashed n-grams, or sentence embeddings where a base is given."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tokenworks.core.vector_file import embedded

Vectors = NDArray[np.float32]  # [texts, dimensions], rows of length 1
DIMENSIONS = 512
MOST_EMBEDDED = 10_000  # texts; above, words say enough, and 1,000 texts a second would take too long
_BLOCK = 8192
_WORDS = re.compile(r"\w+")
_MULTIPLIER = 0x9E3779B1  # 2^32 / golden ratio (Knuth, vol. 3, 6.4)


class Vectorise(Protocol):
    """Turns texts into vectors; `name` tells one from the other."""

    @property
    def name(self) -> str:
        """What the vectors are, for the report."""
        ...

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector a text."""
        ...


class Hashed:
    """Signed feature hashing of words and word pairs (Weinberger 2009), square-rooted counts."""

    name = "hashed words and pairs"

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector a text; the zero vector for one without words."""
        out = np.zeros((len(texts), DIMENSIONS), np.float32)
        for start in range(0, len(texts), _BLOCK):
            some = texts[start : start + _BLOCK]
            out[start : start + len(some)] = _hashed(some)
        return out


def _hashed(texts: Sequence[str]) -> Vectors:
    hashes = [_grams(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(each) for each in hashes])
    flat = np.fromiter((each for some in hashes for each in some), np.int64, len(rows))
    places = rows * DIMENSIONS + flat % DIMENSIONS
    signs = np.where((flat >> 20) & 1, 1.0, -1.0)
    sums = np.bincount(places, signs, minlength=len(texts) * DIMENSIONS).reshape(len(texts), DIMENSIONS)
    return unit(np.sign(sums) * np.sqrt(np.abs(sums)))


def _grams(text: str) -> list[int]:
    words = [zlib.crc32(word.encode()) for word in _WORDS.findall(text.casefold())[:512]]
    pairs = [((left * _MULTIPLIER) ^ right) & 0xFFFFFFFF for left, right in pairwise(words)]
    return words + pairs


def unit(rows: NDArray[np.floating]) -> Vectors:
    """Return `rows` scaled to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), np.float32)


class Embedded:
    """Sentence embeddings of a base encoder; each text is embedded once and kept in `cache`."""

    def __init__(self, folder: Path, digest: str, cache: Path, threads: int) -> None:
        self.name = f"embeddings of {digest[:12]}"
        self._folder, self._threads = folder, threads
        self._cache = cache / f"vectors-{digest[:16]}.safetensors"

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector a text; raise `MissingExtraError` where torch is not installed."""
        return embedded(texts, self._embed, self._cache, most=MOST_EMBEDDED)

    def _embed(self, texts: list[str]) -> Vectors:
        from tokenworks.line.train._encoder_torch import embed_rows, has_bf16, load_encoder, prepare
        from tokenworks.line.train._tokens import tokenize

        prepare(self._threads)
        rows = tokenize(self._folder, texts)
        return np.asarray(embed_rows(load_encoder(self._folder), rows, bf16=has_bf16()).numpy(), np.float32)
