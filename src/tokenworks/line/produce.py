"""One pass of the line for one task: material, candidate, evaluation, verdict, and the release if it won."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.errors import NotFoundError, RefusedError
from tokenworks.core.label import Label, highest
from tokenworks.core.model import ModelVersion
from tokenworks.core.task import Task
from tokenworks.line.comparing import Comparing, Judge, Judged, Trained
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.verdict import Verdict
from tokenworks.line.events import Said
from tokenworks.line.facts import model_facts
from tokenworks.line.recipes import RECIPES, Additions, Material
from tokenworks.line.release.finite import require_finite
from tokenworks.line.release.keys import SigningKey
from tokenworks.line.release.register import register, seal
from tokenworks.line.release.release import promote
from tokenworks.line.run import Runner, stage_key
from tokenworks.store.catalog import Catalog


@dataclass(frozen=True)
class Way:
    """How a candidate is made: a module of line/train with its parameters, and its inputs besides the plan."""

    name: str  # sft, dpo, ...
    trainer: Any
    params: Any
    inputs: Mapping[str, str]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass of the line came to."""

    task: str
    kind: str
    decision: str  # promote | reject | need-more | unchanged
    released: bool
    version: ModelVersion
    weights: str
    evaluation: str
    verdict: str
    reports: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Producer:
    """The line for any task: what it works with, and who may have a say."""

    runner: Runner
    judge_by: Judge
    key: SigningKey
    clock: Clock

    def produce(self, task: Task, *, by: str = "line") -> Outcome:
        """Make a candidate for `task`, compare it with what is in production, release it if it won.

        Killed at any point, the same call goes on where it was; called again with nothing changed, it only looks
        things up.
        """
        started = time.monotonic()
        require_owner(task)
        material = self.gather(task)
        trained = self.train(task, usual_way(task, material))
        incumbent = self.incumbent(task)
        if incumbent is not None and incumbent.stage_key == trained.key:
            return self._outcome(task, "unchanged", incumbent, trained, "", material, started)
        judged = self.judge(task, material, trained, incumbent)
        version = self.register(task, material, trained, judged.report)
        evidence = self.keep(judged.verdict)
        self.tell(task, judged.verdict)
        if judged.verdict.promoted and task.turn.autonomy != "propose":
            self._promote(version, judged.verdict, evidence, by)
            self.runner.listen(Said(task=task.name, stage="release", text=f"released {version.ref}"))
        return self._outcome(task, judged.verdict.decision, version, trained, evidence, material, started)

    def evaluate_released(self, task: Task) -> Evaluation:
        """Return the evaluation of what answers for `task` now, on its gold set of today."""
        material = self.gather(task)
        version = self.incumbent(task)
        if version is None:
            raise NotFoundError(f"nothing is released for task {task.name}; run: tokenworks train FILE")
        return self._read(self._comparing.evaluate(task, version.ref, version.folder, material.judge))

    # -- the steps, for callers that decide themselves what comes next

    def gather(self, task: Task, added: Additions | None = None) -> Material:
        """Return what `task` learns from and is judged on, with what the flywheel selected."""
        return RECIPES[task.kind].gather(task, self.runner, added or Additions())

    def train(self, task: Task, way: Way) -> Trained:
        """Make a candidate; known already, it is looked up."""
        plan = self.runner.run(way.trainer.PLAN, way.inputs, way.params, task=task.name)
        inputs = {**way.inputs, "plan": plan["plan"]}
        made = self.runner.run(way.trainer.TRAIN, inputs, way.params, task=task.name)
        require_finite(self.runner.artifacts.folder(made["model"]))
        key = stage_key(way.trainer.TRAIN, inputs, way.params)
        return Trained(made["model"], key, f"{task.name}@{made['model'][:12]}")

    def judge(
        self, task: Task, material: Material, trained: Trained, incumbent: ModelVersion | None, *, rivals: int = 1
    ) -> Judged:
        """Compare a candidate with the incumbent; of several `rivals` each is judged at alpha / rivals."""
        return self._comparing.judge(task, material, trained, incumbent, rivals=rivals)

    def register(self, task: Task, material: Material, trained: Trained, report: str) -> ModelVersion:
        """Sign the candidate with its bill of materials and give it a number; known already, it keeps its number."""
        label = highest([_label(self.runner.catalog, task, material), Label.parse(trained.label)])
        folder = self.runner.artifacts.folder(trained.weights)
        facts = model_facts(task, material, folder, label, trained.key, self._read(report), report)
        sealed = seal(
            trained.weights,
            facts,
            artifacts=self.runner.artifacts,
            key=self.key,
            scratch=self.runner.home / "work" / "seal",
        )
        version = ModelVersion(
            model=task.name,
            version=0,
            folder=sealed,
            kind=task.kind,
            label=str(label),
            licence=facts.licence,
            owner=task.task.owner,
            base=task.model.base,
            stage_key=trained.key,
            evaluation=report,
            parameters=facts.parameters,
            tenant=task.task.tenant,
            created_at=self.clock.now(),
        )
        return register(version, catalog=self.runner.catalog, ledger=self.runner.ledger)

    def incumbent(self, task: Task) -> ModelVersion | None:
        """Return the version that answers for `task` now."""
        current = self.runner.catalog.releases.current(task.name)
        if current is None or current.version == 0:
            return None
        return self.runner.catalog.models.get(current.model, current.version)

    def keep(self, verdict: Verdict) -> str:
        """Keep the gate's word as evidence; return its digest."""
        return self.runner.artifacts.put_bytes(verdict.to_json())

    def tell(self, task: Task, verdict: Verdict) -> None:
        """Tell who listens what the gate said."""
        for line in verdict.story():
            self.runner.listen(Said(task=task.name, stage="gate", text=line))

    @property
    def _comparing(self) -> Comparing:
        return Comparing(self.runner, self.judge_by)

    def _promote(self, version: ModelVersion, verdict: Verdict, evidence: str, by: str) -> None:
        promote(
            version.model,
            version,
            reason="; ".join(verdict.reasons),
            by=by,
            evidence=evidence,
            catalog=self.runner.catalog,
            ledger=self.runner.ledger,
            clock=self.clock,
        )

    def _read(self, digest: str) -> Evaluation:
        return Evaluation.from_json(self.runner.artifacts.get_bytes(digest))

    def _outcome(
        self,
        task: Task,
        decision: str,
        version: ModelVersion,
        trained: Trained,
        evidence: str,
        material: Material,
        started: float,
    ) -> Outcome:
        return Outcome(
            task=task.name,
            kind=task.kind,
            decision=decision,
            released=self.incumbent(task) == version,
            version=version,
            weights=trained.weights,
            evaluation=version.evaluation,
            verdict=evidence,
            reports=dict(material.report),
            seconds=time.monotonic() - started,
        )


def require_owner(task: Task) -> None:
    """Raise `RefusedError` where nobody answers for `task`: nothing made for it could be released."""
    if not task.task.owner:
        raise RefusedError(
            f'task {task.name} has no owner, so nothing made for it can be released: set task.owner = "mailto:..."'
        )


def usual_way(task: Task, material: Material) -> Way:
    """Return the way that the kind of task usually goes."""
    recipe = RECIPES[task.kind]
    return Way("sft", recipe.trainer, recipe.params(task), material.train)


def _label(catalog: Catalog, task: Task, material: Material) -> Label:
    """Return the highest label among the documents, the examples and the base model."""
    name, _, number = task.model.base.partition("@")
    base = catalog.models.get(name, int(number)) if number.isdigit() else None
    return highest([material.label, *([Label.parse(base.label)] if base else [])])
