"""What the bill of materials of a candidate says: gathered from its folder, its material and its evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.label import Label
from tokenworks.core.task import Task
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.recipes import Material
from tokenworks.line.release.bom import DatasetFacts, FigureFacts, ModelFacts


def model_facts(
    task: Task, material: Material, folder: Path, label: Label, key: str, evaluation: Evaluation, report: str
) -> ModelFacts:
    """Return the facts of the model at `folder`, trained by stage `key` and judged in `report`."""
    config = _json(folder / "config.json")
    card = _json(folder / "tokenworks.json")
    return ModelFacts(
        model=task.name,
        kind=task.kind,
        label=str(label),
        licence=task.data.licence,
        owner=task.task.owner,
        stage_key=key,
        base=task.model.base,
        base_digest=material.train.get("base", ""),
        parameters=parameters_of(folder),
        architecture=", ".join(config.get("architectures") or [config.get("model_type", "")]),
        method=task.model.method,
        description=card.get("description", ""),
        datasets=tuple(
            DatasetFacts(name=name, digest=digest, label=str(label), licences=_licences(task))
            for name, digest in sorted({**material.train, **material.judge}.items())
            if name != "base"
        ),
        figures=tuple(
            FigureFacts(name=one.name, value=one.value, low=one.low, high=one.high, n=one.n, method=one.method)
            for one in evaluation.figures.values()
        ),
        evaluation=report,
    )


def _licences(task: Task) -> tuple[str, ...]:
    return (task.data.licence,) if task.data.licence else ()


def _json(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.is_file() else {}
    return table


def parameters_of(folder: Path) -> int:
    """Return how many numbers the safetensors files of `folder` hold, from their headers alone."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = msgspec.json.decode(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total
