"""The turn as one durable workflow: each step is remembered, a killed turn goes on, and a task turns once at a time.

The steps are idempotent; what is kept after each of them decides what comes next.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import msgspec

from tokenworks.core.errors import ConflictError, ErasedError, RefusedError
from tokenworks.core.files import try_locked
from tokenworks.core.model import Release
from tokenworks.core.task import Task
from tokenworks.flywheel.turn.ending import end_step, release_step
from tokenworks.flywheel.turn.guarding import guard
from tokenworks.flywheel.turn.judging import gate_step, propose_step
from tokenworks.flywheel.turn.making import train_step
from tokenworks.flywheel.turn.selecting import select_step
from tokenworks.flywheel.turn.state import WAITING, Step, Turns, TurnState, with_seconds
from tokenworks.flywheel.turn.trying import approve_step, canary_step, shadow_step
from tokenworks.flywheel.turn.works import Done, StepFunction, Works
from tokenworks.ledger.entries import TurnStepEntry
from tokenworks.ledger.reader import read
from tokenworks.line.produce import require_owner

STEPS: dict[Step, StepFunction] = {
    "select": select_step,
    "train": train_step,
    "gate": gate_step,
    "propose": propose_step,
    "shadow": shadow_step,
    "canary": canary_step,
    "approve": approve_step,
    "release": release_step,
    "end": end_step,
}


class Turner:
    """Turns tasks."""

    def __init__(self, works: Works) -> None:
        self._works = works
        self._turns = Turns(works.catalog)

    def run(self, task: Task, *, by: str, reason: str = "asked for") -> TurnState:
        """Take the open turn of `task` as far as it goes now, or begin a new one; return how far it came.

        Raises `ConflictError` while another process works on it.
        """
        require_owner(task)
        with self._alone(task.name):
            last = self._turns.last(task.name)
            if last is not None and last.open:
                return self._go_on(last, self._written(last))
            return self._go_on(self._begin(task, last, by, reason), set())

    def decide(self, name: str, *, approve: bool, by: str, reason: str) -> TurnState:
        """Say yes or no, as a person, to a turn that waits for one; raise `RefusedError` where none does."""
        with self._alone(name):
            state = self._turns.last(name)
            if state is None or state.step not in WAITING:
                step = f"its last turn is at step '{state.step}'" if state else "it never turned"
                raise RefusedError(f"task {name} waits for nobody: {step}; see: tokenworks turn show --task {name}")
            changes = {"approved_by": by} if approve else {"outcome": "declined"}
            state = self._turns.save(state, **changes, says=(*state.says, f"{by}: {reason}"))
            return self._go_on(state, self._written(state))

    def guard(self, task: Task) -> Release | None:
        """Look at a trial that no turn began; return the step that its test decided on, if any."""
        with self._alone(task.name):
            return guard(self._works, task)

    def _begin(self, task: Task, before: TurnState | None, by: str, reason: str) -> TurnState:
        current = self._works.catalog.releases.current(task.name)
        now = self._works.clock.now()
        state = TurnState(
            task=task.name,
            number=before.number + 1 if before else 1,
            reason=reason,
            by=by,
            spec=msgspec.to_builtins(task),
            started_at=now,
            since=before.until if before else 0.0,
            until=now,
            incumbent=f"{current.model}@{current.version}" if current and current.version else "",
            release=current.id if current else "",
        )
        return self._turns.begin(state)

    def _go_on(self, state: TurnState, written: set[str]) -> TurnState:
        while state.open:
            started = time.monotonic()
            done = self._step(state)
            if done.waits:
                return self._turns.save(state, **done.changes) if done.changes else state
            state = self._leave(state, done, time.monotonic() - started, written)
        return state

    def _step(self, state: TurnState) -> Done:
        """Do the step that is next; where its data was erased meanwhile, the turn selects again, without it."""
        try:
            return STEPS[state.step](self._works, state)
        except ErasedError as error:
            if state.step not in ("train", "gate"):
                raise
            again = {"step": "select", "selection": {}, "tried": (), "until": self._works.clock.now()}
            return Done(f"select again: {error}", again)

    def _leave(self, state: TurnState, done: Done, seconds: float, written: set[str]) -> TurnState:
        """Write a finished step down once, however often it was killed before this; then move on."""
        self._works.say(state.task, f"turn {state.number} {state.step}: {done.says}")
        name = f"{state.step} {state.trial}".strip()
        if name not in written:
            self._works.runner.ledger.append(
                TurnStepEntry(
                    at=self._works.clock.now(),
                    task=state.task,
                    number=state.number,
                    step=name,
                    says=done.says,
                    evidence=done.evidence,
                    seconds=seconds,
                )
            )
        return self._turns.save(state, **done.changes, seconds=with_seconds(state.seconds, state.step, seconds))

    def _written(self, state: TurnState) -> set[str]:
        """Return the steps of `state` that are on the ledger already: what a kill left between ledger and catalog."""
        return {
            entry.step
            for _, entry in read(self._works.ledger_root)
            if isinstance(entry, TurnStepEntry) and (entry.task, entry.number) == (state.task, state.number)
        }

    @contextlib.contextmanager
    def _alone(self, task: str) -> Iterator[None]:
        with try_locked(self._works.runner.home / "work" / "turn" / f"{task}.lock") as ours:
            if not ours:
                raise ConflictError(
                    f"task {task} is being turned by another process; see: tokenworks turn show --task {task}"
                )
            yield
