"""Say before anything runs what a task will read, train, measure and spend, and how long that should take here."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import msgspec

from tokenworks.core.task import Task, seconds_of
from tokenworks.store.catalog import Catalog

# Seconds for a unit of work on two cores (benchmarks/results), used until this machine has done the stage once.
PRIORS_S = {"ingest": 0.25e-6, "curate": 0.1e-6, "split": 0.02e-6, "examples": 0.1e-3, "evaluate": 0.003}
STAGES = {
    "classify": ("examples", "train.classify.plan", "train.classify", "evaluate"),
    "complete": ("ingest", "curate", "split", "train.pretrain.plan", "train.pretrain", "evaluate"),
    "embed": ("ingest", "curate", "train.embed.plan", "train.embed", "evaluate"),
    "chat": ("examples", "train.tune.plan", "train.tune", "evaluate"),
    "extract": ("examples", "train.extract.plan", "train.extract", "evaluate"),
}
PLANS_S = 15.0  # a plan measures the machine for some seconds
JUDGED_S = 45.0  # bits per byte of up to 2 MB, beside an n-gram model of the same text


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """How long a stage should take here, and how that is known."""

    stage: str
    seconds: float
    basis: str  # 'measured here' | 'estimated' | 'at most' (the budget)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a task would do."""

    task: str
    kind: str
    reads: tuple[str, ...]
    files: int
    bytes: int
    examples: int
    trains: str
    measures: str
    may_spend: str
    stages: tuple[Expected, ...]

    @property
    def seconds(self) -> float:
        """All stages together."""
        return sum(stage.seconds for stage in self.stages)


def forecast(task: Task, catalog: Catalog) -> Forecast:
    """Return what `task` would do; reads file sizes and the catalog, runs nothing, writes nothing."""
    paths = [task.path(name) for name in (*task.data.sources, task.data.examples, task.check.gold) if name]
    files, size = _weigh(paths)
    rows = _rows(task.path(task.data.examples)) if task.data.examples else 0
    stages = tuple(_expect(name, task, catalog, size, rows) for name in STAGES[task.kind])
    return Forecast(
        task=task.name,
        kind=task.kind,
        reads=tuple(str(path) for path in paths),
        files=files,
        bytes=size,
        examples=rows,
        trains=f"{task.kind} model from {task.model.base}, method {task.model.method}, seed {task.model.seed}",
        measures=_measures(task),
        may_spend=_limits(task),
        stages=stages,
    )


def _measures(task: Task) -> str:
    gold = task.check.gold or f"{task.check.held_out:.0%} held out"
    floors = "".join(f", floor {name} {value:g}" for name, value in task.check.floor.items())
    return (
        f"{task.metric} on {gold}{floors}, beside baselines and the model in production, margin {task.check.margin:g}"
    )


def _limits(task: Task) -> str:
    said = [f"training {task.model.budget}"]
    if task.limits.p95_ms:
        said.append(f"p95 {task.limits.p95_ms:g} ms")
    return ", ".join(said)


def _expect(stage: str, task: Task, catalog: Catalog, size: int, rows: int) -> Expected:
    past = [result.seconds for result in catalog.stages.of(task.name) if result.stage == stage]
    if past:
        return Expected(stage=stage, seconds=statistics.median(past), basis="measured here")
    if stage.endswith(".plan"):
        return Expected(stage=stage, seconds=PLANS_S, basis="estimated")
    limit = seconds_of(task.model.budget)
    if f"{stage}.plan" in STAGES[task.kind] and limit is not None:
        return Expected(stage=stage, seconds=limit, basis="at most")
    if stage == "evaluate" and not rows:
        return Expected(stage=stage, seconds=JUDGED_S, basis="estimated")
    unit = rows if stage in ("examples", "evaluate") else size
    return Expected(stage=stage, seconds=PRIORS_S.get(stage, 0.0) * unit, basis="estimated")


def _weigh(paths: list[Path]) -> tuple[int, int]:
    files = size = 0
    for path in paths:
        if path.is_file():
            files, size = files + 1, size + path.stat().st_size
        for folder, _, names in os.walk(path):
            for name in names:
                entry = Path(folder, name)
                if entry.is_file() and not entry.is_symlink():
                    files, size = files + 1, size + entry.stat().st_size
    return files, size


def _rows(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return max(lines - 1, 0) if path.suffix.lower() in (".csv", ".tsv") else lines  # the first names the columns
