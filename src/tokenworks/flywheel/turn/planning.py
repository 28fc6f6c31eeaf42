"""What the gate will be able to decide with the items there are, said before anything is trained."""

from __future__ import annotations

from tokenworks.core.model import ModelVersion
from tokenworks.core.task import Task
from tokenworks.line.evaluate.gains import POOLED
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.sizing import plan_items
from tokenworks.line.recipes import Material
from tokenworks.store.artifacts import ArtifactStore

RIGHT_OR_WRONG = frozenset({"accuracy", "exact_match", "json_match", "recall@10"})


def what_can_be_decided(
    artifacts: ArtifactStore, task: Task, material: Material, incumbent: ModelVersion | None
) -> tuple[str, ...]:
    """Return a line for each set of items: how many there are, how many the margin takes, what they can decide."""
    if incumbent is None or task.metric not in RIGHT_OR_WRONG or not task.check.margin:
        return ()
    before = Evaluation.from_json(artifacts.get_bytes(incumbent.evaluation)) if incumbent.evaluation else None
    accuracy = before.headline.value if before is not None and before.metric == task.metric else None
    sets = {"gold": material.judge.get("gold", ""), "fresh": material.fresh, "general": material.general}
    counts = {name: _rows(artifacts, digest) for name, digest in sets.items() if digest}
    chances = 2 if task.kind == "classify" else 1  # by class and by probability
    if counts.get("fresh"):  # a gain is then looked for on all items, and on fresh ones alone
        chances, counts[POOLED] = chances + 1, counts.get("gold", 0) + counts["fresh"]
    return tuple(
        line
        for name, have in counts.items()
        if have
        for line in plan_items(
            margin=task.check.margin, have=have, accuracy=accuracy, name=name, chances=chances
        ).story()
    )


def _rows(artifacts: ArtifactStore, digest: str) -> int:
    return sum(bool(line.strip()) for line in artifacts.get_bytes(digest).split(b"\n"))
