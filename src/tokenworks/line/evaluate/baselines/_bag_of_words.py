"""Texts as sparse TF-IDF rows, with the two matrix products that a linear classifier needs. numpy only.

Words, weights and norm are those of scikit-learn's `TfidfVectorizer` with its defaults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_WORD = re.compile(r"\b\w\w+\b")
_CHUNK = 1 << 20  # numbers handled at a time: stays in the cache, and bounds the memory


@dataclass(frozen=True)
class Rows:
    """A sparse matrix by rows: row i has `values[starts[i]:starts[i+1]]` in `columns` of the same slice."""

    starts: Ints
    columns: Ints
    values: Floats
    width: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def times(self, dense: Floats) -> Floats:
        """Return rows @ dense, [height, k], for `dense` [width, k]."""
        out = np.zeros((self.height, dense.shape[1]), np.float32)
        for first, last in self._slices(dense.shape[1]):
            begin, end = self.starts[first], self.starts[last]
            if begin == end:
                continue
            terms = dense[self.columns[begin:end]]
            terms *= self.values[begin:end, None]
            filled = np.flatnonzero(self.starts[first:last] < self.starts[first + 1 : last + 1])
            out[first + filled] = np.add.reduceat(terms, self.starts[first:last][filled] - begin, axis=0)
        return out

    def transposed(self) -> Rows:
        """Return the same numbers by columns."""
        order = np.argsort(self.columns, kind="stable")
        heights = np.repeat(np.arange(self.height), np.diff(self.starts))
        counts = np.bincount(self.columns, minlength=self.width)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Rows(starts, heights[order], self.values[order], self.height)

    def take(self, rows: Ints) -> Rows:
        """Return some rows, in the order asked for."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picks = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Rows(starts, self.columns[picks], self.values[picks], self.width)

    def _slices(self, k: int) -> list[tuple[int, int]]:
        """Return row ranges that hold about `_CHUNK` numbers each once multiplied by `k` columns."""
        step = max(1, _CHUNK // max(k, 1))
        cuts = np.searchsorted(self.starts, np.arange(step, self.starts[-1], step), side="right")
        edges = sorted({0, *cuts.tolist(), self.height})
        return [pair for pair in pairwise(edges) if pair[0] < self.height]


class Vocabulary:
    """The words of some training texts, with their inverse document frequencies."""

    def __init__(self, texts: Sequence[str]) -> None:
        words = [set(_WORD.findall(text.lower())) for text in texts]
        self._number = {word: i for i, word in enumerate(sorted(set().union(*words)))}
        frequency = np.zeros(len(self._number))
        for found in words:
            for word in found:
                frequency[self._number[word]] += 1
        self._idf = np.log((1 + len(texts)) / (1 + frequency)) + 1

    def rows(self, texts: Sequence[str]) -> Rows:
        """Return unit-length TF-IDF rows of `texts`; unknown words are left out."""
        starts, columns, values = [0], list[int](), list[float]()
        for text in texts:
            counts: dict[int, int] = {}
            for word in _WORD.findall(text.lower()):
                if (number := self._number.get(word)) is not None:
                    counts[number] = counts.get(number, 0) + 1
            weights = np.array([count * self._idf[number] for number, count in counts.items()])
            length = float(np.sqrt((weights**2).sum())) or 1.0
            columns.extend(counts)
            values.extend((weights / length).tolist())
            starts.append(len(columns))
        width = max(1, len(self._number))
        return Rows(np.array(starts, np.int64), np.array(columns, np.int64), np.array(values, np.float32), width)


def numbered(labels: Sequence[str]) -> tuple[list[str], Ints]:
    """Return (the classes in order of name, the number of each label's class)."""
    classes = sorted(set(labels))
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[label] for label in labels], np.int64)
