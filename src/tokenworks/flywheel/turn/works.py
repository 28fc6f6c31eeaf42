"""What the steps of a turn are given, and what each gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.request import Answerer
from tokenworks.core.task import Task
from tokenworks.flywheel.turn.state import TurnState
from tokenworks.ledger.bodies import Bodies
from tokenworks.line.events import Said
from tokenworks.line.produce import Producer
from tokenworks.line.run import Runner
from tokenworks.store.catalog import Catalog

if TYPE_CHECKING:
    from tokenworks.flywheel.trial.watch import Watch


@dataclass(frozen=True)
class Works:
    """Everything a turn works with."""

    producer: Producer
    ledger_root: Path
    bodies: Bodies
    clock: Clock
    watches: dict[str, Watch] = field(default_factory=dict)  # by release on trial: a server looks again and again

    @property
    def runner(self) -> Runner:
        """What runs stages."""
        return self.producer.runner

    @property
    def catalog(self) -> Catalog:
        """What exists."""
        return self.producer.runner.catalog

    @property
    def answer(self) -> Answerer:
        """The request path, for judges and teachers."""
        return self.producer.judge_by.answer

    def say(self, task: str, text: str) -> None:
        """Tell who listens."""
        self.runner.listen(Said(task=task, stage="turn", text=text))


@dataclass(frozen=True)
class Done:
    """What a step came to: fields of the state to replace, and a line for the record."""

    says: str
    changes: dict[str, Any] = field(default_factory=dict)
    evidence: str = ""  # digest
    waits: bool = False  # for a person or for traffic: the step is not over


StepFunction = Callable[[Works, TurnState], Done]


def pinned(state: TurnState) -> Task:
    """Return the task as it stood when the turn began."""
    return msgspec.convert(state.spec, Task)


def ends(outcome: str, line: str, /, *, evidence: str = "", **changes: Any) -> Done:
    """Return that nothing is left to do but to write the end down."""
    return Done(line, {"outcome": outcome, "step": "end", **changes}, evidence)
