"""One screen on everything made so far, recomputed from catalog, artifacts and ledger: nothing is kept for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tokenworks.core.model import ModelVersion, Release
from tokenworks.ledger.verify import verify
from tokenworks.ledger.views import Stats, stats
from tokenworks.line.curate.report import CurateReport
from tokenworks.line.evaluate.report import Evaluation, Figure
from tokenworks.line.evaluate.verdict import Verdict
from tokenworks.line.ingest.report import IngestReport
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import StageResult


class Documents(msgspec.Struct, frozen=True, kw_only=True):
    """What a task was given, and what became of it."""

    task: str
    seen: int
    kept: int
    set_aside: dict[str, int]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A task's newest model, measured beside what was there before."""

    task: str
    kind: str
    version: str
    weights: str  # digest of the folder as trained
    parameters: int
    metric: str
    figure: Figure
    baselines: dict[str, float]
    verdict: str
    because: tuple[str, ...]
    released: str  # name@version that answers now, empty when nothing does
    latency_p50_s: float
    latency_p95_s: float
    ttft_p50_s: float
    ttft_p95_s: float
    tokens_per_s: float
    answers_per_s: float
    description: str
    notes: tuple[str, ...]


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went."""

    task: str
    stage: str
    seconds: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a factory."""

    home: str
    documents: tuple[Documents, ...]
    models: tuple[Made, ...]
    time: tuple[Spent, ...]
    traffic: Stats
    ledger_entries: int
    ledger_ok: bool
    unlearned: dict[str, str] = {}  # task -> released version that still has learned from erased data


def report(
    home: Path, catalog: Catalog, artifacts: ArtifactStore, *, unlearned: Mapping[str, str] | None = None
) -> Report:
    """Return the state of the factory at `home`."""
    names = [task.name for task in catalog.tasks.all()]
    checked = verify(home / "ledger")
    return Report(
        home=str(home),
        documents=tuple(found for name in names if (found := _documents(name, catalog, artifacts))),
        models=tuple(made for name in names if (made := _made(name, catalog, artifacts))),
        time=tuple(
            Spent(task=name, stage=result.stage, seconds=result.seconds)
            for name in names
            for result in sorted(catalog.stages.of(name), key=lambda one: one.finished_at)
        ),
        traffic=stats(home / "ledger"),
        ledger_entries=checked.entries,
        ledger_ok=checked.ok,
        unlearned=dict(unlearned or {}),
    )


def _documents(task: str, catalog: Catalog, artifacts: ArtifactStore) -> Documents | None:
    results = catalog.stages.of(task)
    read, kept = _newest(results, "ingest"), _newest(results, "curate")
    if read is None or kept is None:
        return None
    came = msgspec.json.decode(artifacts.get_bytes(read.outputs["report"]), type=IngestReport)
    left = msgspec.json.decode(artifacts.get_bytes(kept.outputs["report"]), type=CurateReport)
    reasons = dict(came.set_aside)
    for reason, count in left.set_aside.items():
        reasons[reason] = reasons.get(reason, 0) + count
    return Documents(task=task, seen=came.documents.seen, kept=left.kept, set_aside=reasons)


def _newest(results: list[StageResult], stage: str) -> StageResult | None:
    return max((one for one in results if one.stage == stage), key=lambda one: one.finished_at, default=None)


def _made(task: str, catalog: Catalog, artifacts: ArtifactStore) -> Made | None:
    version = catalog.models.latest(task)
    if version is None or not version.evaluation:
        return None
    found = Evaluation.from_json(artifacts.get_bytes(version.evaluation))
    release = catalog.releases.current(task)
    verdict = _verdict(release, version, artifacts)
    trained = catalog.stages.get(version.stage_key)
    card = msgspec.json.decode((artifacts.folder(version.folder) / "tokenworks.json").read_bytes())
    return Made(
        task=task,
        kind=version.kind,
        version=version.ref,
        weights=trained.outputs["model"] if trained else "",
        parameters=version.parameters,
        metric=found.metric,
        figure=found.headline,
        baselines={name: one.headline.value for name, one in found.baselines.items()},
        verdict=verdict.decision if verdict else _unjudged(release, version),
        because=verdict.reasons if verdict else (),
        released=f"{release.model}@{release.version}" if release and release.version else "",
        latency_p50_s=_value(found, "latency_p50_s"),
        latency_p95_s=_value(found, "latency_p95_s"),
        ttft_p50_s=_value(found, "ttft_p50_s"),
        ttft_p95_s=_value(found, "ttft_p95_s"),
        tokens_per_s=_value(found, "tokens_per_s"),
        answers_per_s=_value(found, "answers_per_s"),
        description=card.get("description", ""),
        notes=found.notes,
    )


def _unjudged(release: Release | None, version: ModelVersion) -> str:
    """Return how a version stands that no verdict of the gate released."""
    return "by hand" if release is not None and release.version == version.version else "not released"


def _verdict(release: Release | None, version: ModelVersion, artifacts: ArtifactStore) -> Verdict | None:
    if release is None or release.version != version.version or not release.evidence:
        return None
    return Verdict.from_json(artifacts.get_bytes(release.evidence))


def _value(found: Evaluation, name: str) -> float:
    return found.figures[name].value if name in found.figures else 0.0
