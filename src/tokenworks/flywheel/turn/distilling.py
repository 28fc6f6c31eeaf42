"""What a teacher answers to the questions that nobody answered for us, as rows to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.core.task import Task
from tokenworks.flywheel.teach import Teaching, teach
from tokenworks.flywheel.turn.state import TurnState
from tokenworks.flywheel.turn.works import Works
from tokenworks.line.recipes import Additions
from tokenworks.store.artifacts import ArtifactStore

REMOTE = "remote"
SAMPLES = 5  # of a teacher that writes: the majority counts (self-consistency, Wang 2022)


@dataclass(frozen=True)
class Lessons:
    """What was learned from a teacher, and what it cost."""

    rows: bytes = b""
    engine_s: float = 0.0
    answers: int = 0
    says: str = ""

    def added_to(self, artifacts: ArtifactStore, added: Additions) -> Additions:
        """Return `added` with these rows among what is trained on. A person's answer to the same question stays."""
        before = artifacts.get_bytes(added.train) if added.train else b""
        return msgspec.structs.replace(added, train=artifacts.put_bytes(before + self.rows))


def lessons(works: Works, state: TurnState, task: Task) -> Lessons:
    """Ask the task's teacher every question of the selection that has no right answer.

    Its answers are kept as they come, so that a killed turn asks nothing twice; a teacher that fails half way has
    taught what it had said. The questions carry their label: the gateway refuses them to a teacher that may not see it.
    """
    questions = state.selection.get("parts", {}).get("unlabelled", "")
    by = Teaching(
        kind=task.kind,
        samples=1 if task.kind == "classify" else SAMPLES,
        label=state.selection.get("label", ""),
        labels=_classes(works, state) if task.kind == "classify" else (),
        schema=msgspec.json.decode(task.path(task.data.schema).read_bytes()) if task.data.schema else None,
        seed=task.model.seed,
    )
    asked = works.runner.artifacts.get_bytes(questions)
    taught = teach(asked, works.answer, _teacher(works, task), by=by, journal=journal_of(works, state))
    return Lessons(_dated(taught.rows, state.until), taught.engine_s, taught.answered, taught.story())


def _teacher(works: Works, task: Task) -> str:
    """Return the exact version that the teacher's name stands for now; the server elsewhere has one of its own."""
    name = task.turn.teacher
    if "@" in name or name == REMOTE:
        return f"{REMOTE}@0" if name == REMOTE else name
    release = works.catalog.releases.current(name)
    if release is None or not release.version:
        raise NotFoundError(f"task {task.name}: turn.teacher {name!r} is not released; release it, or name a version")
    return f"{release.model}@{release.version}"


def journal_of(works: Works, state: TurnState) -> Path:
    """Return where a turn keeps its teacher's answers until it ends; an erasure drops the whole folder."""
    return works.runner.home / "work" / "teach" / f"{state.task}-{state.number}.jsonl"


def _dated(rows: bytes, at: float) -> bytes:
    """Return the rows in the form of corrections, older than any that a person gave."""
    decoded = msgspec.json.Decoder(dict[str, object]).decode_lines(rows)
    return msgspec.json.Encoder().encode_lines([{**row, "at": at - 1e9} for row in decoded])


def _classes(works: Works, state: TurnState) -> tuple[str, ...]:
    """Return what the incumbent may answer: a teacher's other words are no class of ours."""
    if not state.incumbent:
        return ()
    folder = works.runner.artifacts.folder(works.catalog.models.find(state.incumbent).folder)
    card = msgspec.json.decode((folder / "tokenworks.json").read_bytes())
    return tuple(card.get("classes", ()))
