"""One turn: the corrections since the last turn become a candidate, and the gate decides. First form, run by hand."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.core.task import Task
from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.entries import TurnEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.views import Feedback, feedback_since
from tokenworks.line.produce import Outcome, Producer


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose right answer is known, as the examples stage reads it."""

    text: str
    label: str
    request_id: str
    at: float


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn did, for a person."""

    number: int
    task: str
    new: int  # corrections since the last turn
    known: int  # corrections in all
    unusable: int  # feedback whose request or text is not kept
    outcome: Outcome | None  # None when there was nothing new


def turn(task: Task, producer: Producer, ledger_root: Path, bodies: Bodies, *, by: str) -> Turn:
    """Make a candidate for `task` from all corrections so far, gate it, and release it if it won.

    With no correction since the last turn nothing is trained. Each turn leaves one entry on the ledger.
    """
    started = time.monotonic()
    past = _turns(task.name, ledger_root)
    feedback = [one for one in feedback_since(ledger_root) if _is_about(one, task.name)]
    corrections = [found for one in feedback if (found := _correction(one, bodies)) is not None]
    last = max((entry.at for entry in past), default=0.0)
    new = sum(correction.at > last for correction in corrections)
    outcome = None
    if new:
        blob = producer.runner.artifacts.put_bytes(msgspec.json.Encoder().encode_lines(corrections))
        outcome = producer.produce(task, corrections=blob, by=by)
    number = len(past) + 1
    producer.runner.ledger.append(_entry(task, number, new, outcome, time.monotonic() - started))
    return Turn(
        number=number,
        task=task.name,
        new=new,
        known=len(corrections),
        unusable=len(feedback) - len(corrections),
        outcome=outcome,
    )


def _is_about(feedback: Feedback, task: str) -> bool:
    return feedback.feedback.has_correction and feedback.request is not None and feedback.request.model == task


def _correction(feedback: Feedback, bodies: Bodies) -> Correction | None:
    """Return the correction with the text it is about; None when the bodies were not kept."""
    right = bodies.get_correction(feedback.feedback.feedback_id)
    kept = bodies.get(feedback.feedback.request_id)
    if right is None or kept is None:
        return None
    asked = msgspec.json.decode(kept[0]).get("input", "")
    text = asked[0] if isinstance(asked, list) and len(asked) == 1 else asked
    if not isinstance(text, str):
        return None
    return Correction(text=text, label=right, request_id=feedback.feedback.request_id, at=feedback.feedback.at)


def _entry(task: Task, number: int, new: int, outcome: Outcome | None, seconds: float) -> TurnEntry:
    if outcome is None:
        return TurnEntry(at=time.time(), task=task.name, number=number, verdict="nothing-new", seconds=seconds)
    return TurnEntry(
        at=time.time(),
        task=task.name,
        number=number,
        verdict=outcome.decision,
        candidate=outcome.version.ref,
        evidence=outcome.verdict,
        corrections=new,
        seconds=seconds,
    )


def last_turn(task: str, ledger_root: Path) -> TurnEntry:
    """Return the last turn of `task`; raise `NotFoundError` when it never turned."""
    turns = _turns(task, ledger_root)
    if not turns:
        raise NotFoundError(f"task {task} never turned; send corrections to /v1/feedback, then: tokenworks turn {task}")
    return turns[-1]


def _turns(task: str, ledger_root: Path) -> list[TurnEntry]:
    return [entry for _, entry in read(ledger_root) if isinstance(entry, TurnEntry) and entry.task == task]
