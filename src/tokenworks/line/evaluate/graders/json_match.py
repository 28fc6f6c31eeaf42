"""JSON match: the whole answer equals the gold value; beside it, the share of fields that are right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tokenworks.line.evaluate.grade import Grade
from tokenworks.line.evaluate.intervals import mean_score
from tokenworks.line.evaluate.paired import Paired, paired_scores
from tokenworks.line.evaluate.report import Figure, Item

BETTER = "higher"


def grade(row: Mapping[str, Any], answered: str) -> Grade:
    """Compare `answered` with the JSON text `row["answer"]`; order of keys and 1 against 1.0 do not matter.

    Part 'fields' is the F1 over (path, value) pairs of the leaves, 'valid' whether the answer is JSON at all.
    """
    gold = msgspec.json.decode(str(row["answer"]))
    try:
        given = msgspec.json.decode(answered.strip())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return Grade(score=0.0, parts={"fields": 0.0, "valid": 0.0})
    wanted, got = set(_leaves(gold)), set(_leaves(given))
    fields = 2 * len(wanted & got) / (len(wanted) + len(got))
    return Grade(score=float(wanted == got), parts={"fields": fields, "valid": 1.0})


def figure(items: Sequence[Item]) -> Figure:
    """Return the share of answers that match as a whole."""
    return mean_score("json_match", [item.score for item in items], [item.cluster for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same items."""
    return paired_scores(candidate, other, alpha=alpha)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str, Any]]:
    """Yield (path, type, value) of every leaf; an empty list or object is a leaf too."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    elif isinstance(value, bool) or value is None:
        yield path, type(value).__name__, value
    elif isinstance(value, int | float):
        yield path, "number", value
    else:
        yield path, type(value).__name__, str(value)
