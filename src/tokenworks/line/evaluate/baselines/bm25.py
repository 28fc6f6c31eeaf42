"""Okapi BM25 over the words of the documents (Robertson & Zaragoza 2009; k1 = 1.2, b = 0.75)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"\w+")
K1, B = 1.2, 0.75


def rank(documents: Sequence[str], queries: Sequence[str], *, depth: int) -> list[list[int]]:
    """Return for each query the numbers of the `depth` best documents, best first."""
    counts = [Counter(_WORD.findall(text.lower())) for text in documents]
    lengths = np.array([sum(count.values()) for count in counts], np.float64)
    mean = float(lengths.mean()) or 1.0
    found: dict[str, tuple[list[int], list[int]]] = {}
    for number, count in enumerate(counts):
        for word, often in count.items():
            numbers, counted = found.setdefault(word, ([], []))
            numbers.append(number)
            counted.append(often)
    ranked = []
    for query in queries:
        scores = np.zeros(len(documents))
        for word in set(_WORD.findall(query.lower())) & found.keys():
            where, times = np.array(found[word][0]), np.array(found[word][1], np.float64)
            idf = math.log(1 + (len(documents) - len(where) + 0.5) / (len(where) + 0.5))
            scores[where] += idf * times * (K1 + 1) / (times + K1 * (1 - B + B * lengths[where] / mean))
        ranked.append(np.argsort(-scores, kind="stable")[:depth].tolist())
    return ranked
