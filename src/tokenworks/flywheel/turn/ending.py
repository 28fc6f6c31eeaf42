"""The last steps: let the candidate answer if it earned it, unless a person decided otherwise; write the end down."""

from __future__ import annotations

import msgspec

from tokenworks.core.errors import ConflictError
from tokenworks.core.model import Release
from tokenworks.flywheel.turn.distilling import journal_of
from tokenworks.flywheel.turn.returns import returns
from tokenworks.flywheel.turn.state import TurnState
from tokenworks.flywheel.turn.works import Done, Works, ends
from tokenworks.ledger.entries import TurnEntry
from tokenworks.ledger.reader import read
from tokenworks.line.events import Said
from tokenworks.line.release.release import promote

DUE = "due"  # kind of the objects that ask for a turn; their id is the task


def release_step(works: Works, state: TurnState) -> Done:
    """Let the candidate answer, unless a person released something else since the turn began."""
    version = works.catalog.models.find(state.candidate)
    try:
        promote(
            state.task,
            version,
            reason="; ".join(state.says) or f"turn {state.number}",
            by=state.approved_by or state.by,
            evidence=state.live or state.verdict,
            id=release_id(state, "release"),
            expect=state.trial or state.release,
            catalog=works.catalog,
            ledger=works.runner.ledger,
            clock=works.clock,
        )
    except ConflictError as error:
        return ends("overtaken", f"nothing was released: {error}")
    works.runner.listen(Said(task=state.task, stage="release", text=f"released {version.ref}"))
    return ends("promoted", f"{version.ref} answers for {state.task}")


def overtaken(works: Works, state: TurnState) -> Release | None:
    """Return the release that somebody else made since the turn began, None where there is none."""
    current = works.catalog.releases.current(state.task)
    if current is None or current.id == state.release or current.id.startswith(release_id(state, "")):
        return None
    return current


def release_id(state: TurnState, what: str) -> str:
    """Return the id of a release that this turn makes: the same however often the turn is taken up."""
    return f"turn-{state.task}-{state.number}-{what}"


def end_step(works: Works, state: TurnState) -> Done:
    """Write the turn's entry, once; take away what asked for it."""
    if not _recorded(works, state):
        works.runner.ledger.append(
            TurnEntry(
                at=works.clock.now(),
                task=state.task,
                number=state.number,
                verdict=state.outcome,
                candidate=state.candidate,
                incumbent=state.incumbent,
                evidence=state.verdict,
                corrections=state.new,
                seconds=sum(state.seconds.values()),
                dataset=state.selection.get("report", ""),
                quarantined=state.selection.get("quarantined", 0),
                live=state.live,
                approved_by=state.approved_by,
                engine_s=state.engine_s,
                train_s=state.train_s,
            )
        )
    _settle(works, state)
    journal_of(works, state).unlink(missing_ok=True)
    paid = returns(works, state)
    return Done(
        state.outcome,
        {"step": "ended", "ended_at": works.clock.now(), "payback": msgspec.to_builtins(paid) if paid else {}},
    )


def _recorded(works: Works, state: TurnState) -> bool:
    return any(
        isinstance(entry, TurnEntry) and (entry.task, entry.number) == (state.task, state.number)
        for _, entry in read(works.ledger_root)
    )


def _settle(works: Works, state: TurnState) -> None:
    """Forget what asked for this turn where the turn answered it; what was asked since then stays."""
    due = works.catalog.objects.get(DUE, state.task)
    if due is None or due.created_at > state.until:
        return
    if state.outcome in ("promoted", "unchanged") or not due.body.get("versions"):
        works.catalog.objects.delete(DUE, state.task)
