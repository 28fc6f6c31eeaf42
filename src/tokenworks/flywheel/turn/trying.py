"""The trial: users try the candidate while a test looks on that may be looked at as often as one likes."""

from __future__ import annotations

from typing import Any

from tokenworks.core.errors import ConflictError
from tokenworks.flywheel.turn.ending import overtaken, release_id
from tokenworks.flywheel.turn.state import TurnState
from tokenworks.flywheel.turn.watching import watched
from tokenworks.flywheel.turn.works import Done, Works, ends, pinned
from tokenworks.line.release.trial import Mode, begin_trial, end_trial


def shadow_step(works: Works, state: TurnState) -> Done:
    """Let the candidate answer beside the incumbent, shown to nobody, until it has proven that it does no harm."""
    return _begin(works, state, "shadow") if not state.trial else _look(works, state)


def canary_step(works: Works, state: TurnState) -> Done:
    """Let the candidate answer a share of the users, until the test decides."""
    return _begin(works, state, "canary") if not state.trial else _look(works, state)


def approve_step(works: Works, state: TurnState) -> Done:
    """Wait until a person says yes or no to a trial that was won; the share goes on being answered by it."""
    if made := overtaken(works, state):
        return ends("overtaken", f"{made.by} released something else: {made.action}, {made.reason}")
    if state.outcome == "declined":
        _end(works, state, "; ".join(state.says[-1:]))
        return ends("declined", "; ".join(state.says[-1:]))
    if not state.approved_by:
        return Done("waits for a person", waits=True)
    return Done(f"approved by {state.approved_by}", {"step": "release"})


def _begin(works: Works, state: TurnState, mode: Mode) -> Done:
    """Begin the trial, unless a person released something since the turn began."""
    canary = pinned(state).turn.canary
    if made := overtaken(works, state):
        return ends("overtaken", f"{made.by} released something else: {made.action}, {made.reason}")
    try:
        release = begin_trial(
            state.task,
            works.catalog.models.find(state.candidate),
            share=canary.share,
            mode=mode,
            reason=f"turn {state.number} passed the gate",
            by=state.approved_by or state.by,
            evidence=state.verdict,
            id=release_id(state, mode),
            expect=state.release,
            catalog=works.catalog,
            ledger=works.runner.ledger,
            clock=works.clock,
        )
    except ConflictError as error:
        return ends("overtaken", f"no trial was begun: {error}")
    return Done(f"{state.candidate} on trial ({mode}) for {canary.share:.0%} of the users", {"trial": release.id})


def _look(works: Works, state: TurnState) -> Done:
    task = pinned(state)
    if made := overtaken(works, state):
        return ends("overtaken", f"{made.by} released something else: {made.action}, {made.reason}")
    release = works.catalog.releases.current(state.task)
    assert release is not None, "a trial is a release"
    trial = watched(works, release, task)
    if not trial.decision:
        return Done("the test goes on", waits=True)
    report = trial.report()
    live = works.runner.artifacts.put_bytes(report.to_json())
    changes: dict[str, Any] = {"live": live, "says": tuple(report.reasons)}
    says = f"{trial.decision}: {'; '.join(report.reasons)}"
    if trial.decision == "promote":
        if state.step == "shadow":
            return Done(says, {**changes, "step": "canary", "trial": "", "release": release.id}, live)
        return Done(says, {**changes, "step": "approve" if task.turn.autonomy == "canary" else "release"}, live)
    _end(works, state, says)
    outcome = "rolled-back" if trial.decision == "roll-back" else "undecided"
    return ends(outcome, says, evidence=live, **changes)


def _end(works: Works, state: TurnState, reason: str) -> None:
    """End the trial; where a person was faster there is nothing left to end."""
    try:
        end_trial(
            state.task,
            reason=reason,
            by=state.by,
            evidence=state.live,
            id=release_id(state, f"{state.step}-end"),
            expect=state.trial,
            catalog=works.catalog,
            ledger=works.runner.ledger,
            clock=works.clock,
        )
    except ConflictError:
        works.say(state.task, "the trial was ended by somebody else already")
