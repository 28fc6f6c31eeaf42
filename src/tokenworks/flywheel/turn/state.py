"""How far a turn is: a record in the catalog that each step replaces by the next. A killed turn goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import Object

KIND = "turn"
Step = Literal["select", "train", "gate", "propose", "shadow", "canary", "approve", "release", "end", "ended"]
Outcome = Literal[
    "",
    "promoted",  # the candidate answers now
    "rejected",  # the gate refused it
    "need-more",  # the gate could not decide with so few items
    "nothing-new",
    "unchanged",  # the same inputs made the same model as before
    "rolled-back",  # live traffic showed harm
    "undecided",  # the trial ended without a decision
    "overtaken",  # a person released something else meanwhile
    "declined",  # a person said no
    "failed",  # no candidate could be made
]
WAITING: frozenset[Step] = frozenset({"propose", "approve"})  # for a person
LIVE: frozenset[Step] = frozenset({"shadow", "canary"})  # for traffic


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One way of making a candidate, and what came of it."""

    strategy: str
    weights: str = ""  # digest of the folder as trained
    key: str = ""  # identity of the training stage
    failed: str = ""  # why there is no candidate
    seconds: float = 0.0
    teacher_s: float = 0.0  # engine-seconds of a teacher
    teacher_answers: int = 0
    says: str = ""


class TurnState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a turn has found out so far. What later steps need is pinned here, so that a rerun sees the same."""

    task: str
    number: int
    step: Step = "select"
    outcome: Outcome = ""
    reason: str = ""  # why it turned
    by: str = ""
    spec: dict[str, Any] = {}  # the task file as it stood
    started_at: float
    since: float = 0.0  # where the turn before ended looking
    until: float  # feedback given later is for the next turn
    ended_at: float = 0.0
    incumbent: str = ""  # name@version that answered at the start
    release: str = ""  # id of the release in force at the start
    selection: dict[str, Any] = {}
    new: int = 0  # corrections and confirmations since the last turn, as selected
    plan: tuple[str, ...] = ()  # what the gate can decide, said before anything was trained
    tried: tuple[Tried, ...] = ()
    chosen: str = ""  # strategy
    candidate: str = ""  # name@version
    verdict: str = ""  # digest
    says: tuple[str, ...] = ()  # the reasons of the last decision
    trial: str = ""  # id of the release that began the trial in force
    live: str = ""  # digest of what the trial showed
    approved_by: str = ""
    seconds: dict[str, float] = {}  # by step
    engine_s: float = 0.0  # of judging and teaching
    payback: dict[str, Any] = {}  # cost and return, as they were known when the turn ended

    @property
    def id(self) -> str:
        """Name of the record: numbers sort as text."""
        return f"{self.task}/{self.number:06d}"

    @property
    def open(self) -> bool:
        """Whether there is something left to do or to wait for."""
        return self.step != "ended"

    @property
    def train_s(self) -> float:
        """Seconds spent on making candidates."""
        return sum(one.seconds for one in self.tried)


class Turns:
    """The turns of every task."""

    def __init__(self, catalog: Catalog) -> None:
        self._objects = catalog.objects

    def of(self, task: str) -> list[TurnState]:
        """Return the turns of `task`, the oldest first."""
        found = [self._state(one) for one in self._objects.of(KIND, task)]
        return sorted(found, key=lambda state: state.number)

    def last(self, task: str) -> TurnState | None:
        """Return the newest turn of `task`, None where it never turned."""
        found = self.of(task)
        return found[-1] if found else None

    def get(self, task: str, number: int) -> TurnState:
        """Return turn `number` of `task`; raise `NotFoundError` naming those there are."""
        found = {state.number: state for state in self.of(task)}
        if number not in found:
            there = f"there are 1 to {max(found)}" if found else "it never turned"
            raise NotFoundError(f"task {task} has no turn {number}; {there}")
        return found[number]

    def find(self, task: str = "", number: int | None = None) -> TurnState:
        """Return the turn that a person means: of the only task that turned where none is named, the last by default.

        Raises `NotFoundError` naming what there is to choose from.
        """
        names = [task] if task else self.tasks()
        if len(names) != 1:
            there = f"name one of {', '.join(names)} with --task" if names else "nothing has turned yet"
            raise NotFoundError(f"which turn is meant? {there}")
        last = self.last(names[0])
        if last is None:
            raise NotFoundError(
                f"task {names[0]} never turned; send feedback to /v1/feedback, then: tokenworks turn {names[0]}"
            )
        return last if number is None else self.get(names[0], number)

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have turned."""
        return sorted({one.scope for one in self._objects.of(KIND)})

    def begin(self, state: TurnState) -> TurnState:
        """Keep a new turn; raise `ConflictError` where another process began the same one."""
        self._objects.add(
            Object(kind=KIND, id=state.id, scope=state.task, body=_body(state), created_at=state.started_at)
        )
        return state

    def save(self, state: TurnState, /, **changes: Any) -> TurnState:
        """Keep `state` with `changes` in place of what was kept; return it."""
        after = msgspec.structs.replace(state, **changes)
        before = self._objects.get(KIND, state.id)
        if before is None:
            raise NotFoundError(f"turn {state.number} of {state.task} is not in the catalog; begin a new one")
        self._objects.update(msgspec.structs.replace(before, body=_body(after)))
        return after

    def _state(self, one: Object) -> TurnState:
        return msgspec.convert(one.body, TurnState)


def _body(state: TurnState) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(state)
    return body


def with_seconds(seconds: Mapping[str, float], step: str, more: float) -> dict[str, float]:
    """Return `seconds` with `more` added to those of `step`."""
    return {**seconds, step: seconds.get(step, 0.0) + more}
