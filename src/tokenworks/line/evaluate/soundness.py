"""Is this a fair contest at all? NaN, failed answers, answers cut off, a gold set of one class. Reports only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from tokenworks.line.evaluate.paired import mcnemar
from tokenworks.line.evaluate.report import Evaluation, Item, paired_items
from tokenworks.line.evaluate.verdict import Check

INCOMPLETE = frozenset({"length", "empty"})  # how an answer ends that is none


def sound(candidate: Evaluation) -> list[Check]:
    """Return the conditions that a report must meet before it is compared with any other."""
    checks = []
    strange = [item for item in candidate.items if not math.isfinite(item.score)]
    if strange or not math.isfinite(candidate.headline.value):
        says = f"{len(strange)} of {len(candidate.items)} scores are no numbers (first: item {_first(strange)})"
        checks.append(Check(name="numbers", holds=False, says=f"{says}; the model's output is broken"))
    classes = {item.group for item in candidate.items}
    if candidate.kind == "classify" and len(candidate.items) > 1 and len(classes) == 1:
        only = next(iter(classes))
        says = f"every gold item is of class {only!r}: always answering it would be perfect; add items of other classes"
        checks.append(Check(name="gold", holds=False, says=says))
    return checks


def failing(candidate: Evaluation, incumbent: Evaluation, alpha: float) -> list[Check]:
    """Return that the candidate fails to answer more often than the incumbent, where it did fail."""
    mine, theirs = paired_items(candidate.items, incumbent.items)
    fails = sum(bool(a.error) and not b.error for a, b in zip(mine, theirs, strict=True))
    saves = sum(bool(b.error) and not a.error for a, b in zip(mine, theirs, strict=True))
    if not fails:
        return []
    worse = mcnemar(fails, saves) <= alpha
    says = f"{fails} items were answered by the incumbent alone, {saves} by the candidate alone"
    return [Check(name="answers", holds=not worse, says=says)]


def whole(candidate: Evaluation, incumbent: Evaluation) -> tuple[Evaluation, tuple[str, ...]]:
    """Return `candidate` without wins by truncation, and what was found.

    An answer that is cut off at max_tokens or empty, where the incumbent's is whole, counts as wrong.
    """
    there = {item.id: item for item in incumbent.items}
    cut = {
        item.id
        for item in candidate.items
        if item.finish in INCOMPLETE and item.id in there and there[item.id].finish not in INCOMPLETE and item.score > 0
    }
    if not cut:
        return candidate, ()
    items = tuple(_wrong(item) if item.id in cut else item for item in candidate.items)
    note = f"{len(cut)} answers of the candidate are cut off or empty where the incumbent's are whole: counted as wrong"
    return msgspec.structs.replace(candidate, items=items), (note,)


def _wrong(item: Item) -> Item:
    return msgspec.structs.replace(item, score=0.0, predicted="", parts={})


def _first(items: Sequence[Item]) -> str:
    return items[0].id if items else "none; the figure itself is none"
