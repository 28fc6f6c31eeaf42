"""Rank passages: the words of a query as full-text search, and several rankings joined into one."""

from __future__ import annotations

import re
from collections.abc import Sequence

RRF = 60  # reciprocal rank fusion, Cormack 2009
MAX_TERMS = 48
_TERM = re.compile(r"\w+")


def match_expression(query: str) -> str:
    """Return the FTS5 expression that finds any word of `query`; empty when it has none.

    Every word is quoted, so that nothing a caller types is read as an operator.
    """
    terms = dict.fromkeys(term.casefold() for term in _TERM.findall(query))
    return " OR ".join(f'"{term}"' for term in list(terms)[:MAX_TERMS])


def fuse(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Return ids with their summed 1 / (60 + rank), best first; equal scores in the order of the ids."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (RRF + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
