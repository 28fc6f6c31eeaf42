"""What feedback means: a right answer, a better one of two, a document that answered, or nothing to learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tokenworks.core.ids import canonical_json
from tokenworks.flywheel.select.rows import Row
from tokenworks.flywheel.select.signals import Given, Signal

CORRECTED = 2.0  # how much more telling an answer that was wrong is
_UNSURE = 0.5  # confidence of an answer that has none
_APART = ("system", "developer")  # the same in every request: left in, all texts would look alike


@dataclass
class Meaning:
    """What was understood."""

    rows: list[Row] = field(default_factory=list)
    unlabelled: list[Signal] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)


def understand(signals: Iterable[Signal], kind: str, classes: frozenset[str]) -> Meaning:
    """Return the rows that the feedback makes. `classes` are the labels that the owner's examples have."""
    found = Meaning()
    for signal in signals:
        rows = [row for row in _rows(signal, kind) if _sound(row, kind, classes, found.set_aside)]
        found.rows += rows
        if not any(row.part == "example" for row in rows) and not signal.search:
            found.unlabelled.append(signal)
    return found


def asked_text(signal: Signal) -> str:
    """Return what was asked as one text, without what is the same in every request."""
    if not signal.messages:
        return signal.text
    return "\n".join(_content(message) for message in signal.messages if message.get("role") not in _APART)


def _rows(signal: Signal, kind: str) -> Iterator[Row]:
    by_principal: dict[str, list[Given]] = {}
    for given in signal.feedback:
        by_principal.setdefault(given.principal, []).append(given)
    for mine in by_principal.values():
        latest = _statement(mine)
        right = None if latest is None else latest.correction if latest.correction is not None else signal.answer
        if latest is not None and right:
            yield _row(signal, latest, "click" if signal.search else "example", right)
            if kind in ("chat", "extract") and latest.correction is not None and signal.answer not in ("", right):
                yield _row(signal, latest, "pair", right, rejected=signal.answer)
        for given in mine:
            if given.other_answer and signal.answer and given.other_answer != signal.answer:
                yield _row(signal, given, "pair", signal.answer, rejected=given.other_answer)


def _statement(mine: list[Given]) -> Given | None:
    """Return what a principal said last about the right answer: a correction stands until another one comes."""
    corrections = [given for given in mine if given.correction is not None and given.correction.strip()]
    if corrections:
        return corrections[-1]
    said = [given for given in mine if _likes(given) is not None]
    return said[-1] if said and _likes(said[-1]) else None


def _likes(given: Given) -> bool | None:
    """Return whether the answer was right, None where that was not said."""
    if given.outcome is not None:
        return given.outcome >= 1
    if given.rating:
        return given.rating > 0
    return {"accepted": True, "regenerated": False, "edited": False}.get(given.signal)


def _row(signal: Signal, given: Given, part: Any, answer: str, rejected: str = "") -> Row:
    confidence = _UNSURE if signal.confidence is None else signal.confidence
    wrong = given.correction is not None and given.correction.strip() != signal.answer
    return Row(
        part=part,
        request_id=signal.request_id,
        feedback_id=given.feedback_id,
        principal=given.principal,
        at=given.at,
        asked_at=signal.at,
        text=asked_text(signal),
        answer=answer.strip(),
        messages=signal.messages,
        tools=signal.tools,
        rejected=rejected,
        user=signal.user,
        conversation=signal.conversation,
        label=signal.label,
        informative=round(CORRECTED * wrong + 1 - confidence, 6),
        confirms=not wrong,
    )


def _sound(row: Row, kind: str, classes: frozenset[str], set_aside: Counter[str]) -> bool:
    """Tell whether the row can be learned at all; count it where not."""
    reason = ""
    if not row.text.strip():
        reason = "empty"
    elif kind == "classify" and (row.part != "example" or (classes and row.answer not in classes)):
        reason = "unknown label"
    elif kind == "embed" and row.part != "click":
        reason = "not a search"
    elif kind == "extract" and not _is_json(row.answer):
        reason = "not JSON"
    if reason:
        set_aside[reason] += 1
    return not reason


def _is_json(text: str) -> bool:
    try:
        canonical_json(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return False
    return True


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
