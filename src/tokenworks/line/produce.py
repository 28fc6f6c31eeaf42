"""One pass of the line for one task: material, candidate, evaluation, verdict, and the release if it won."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.errors import NotFoundError, RefusedError
from tokenworks.core.label import Label, highest
from tokenworks.core.model import ModelVersion
from tokenworks.core.request import Answerer
from tokenworks.core.task import Task
from tokenworks.line.evaluate.gate import decide
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.stage import evaluate_stage
from tokenworks.line.evaluate.verdict import Verdict
from tokenworks.line.events import Said
from tokenworks.line.facts import model_facts
from tokenworks.line.recipes import RECIPES, Material
from tokenworks.line.release.keys import SigningKey
from tokenworks.line.release.register import register, seal
from tokenworks.line.release.release import promote
from tokenworks.line.run import Runner, stage_key
from tokenworks.store.catalog import Catalog

ANSWER_TOKENS = 256  # of a judged answer, at most
Offer = Callable[[str, str], None]  # (model ref, folder digest): make an unreleased model answerable


@dataclass(frozen=True)
class Judge:
    """How models are asked: through the same request path as everybody."""

    answer: Answerer
    offer: Offer


@dataclass(frozen=True)
class Trained:
    """A candidate before it has a version number."""

    weights: str  # digest of the unsigned model folder: equal inputs give an equal digest
    key: str  # identity of the training stage
    ref: str  # what it is called while it is judged


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
    judge: Judge
    key: SigningKey
    clock: Clock

    def produce(self, task: Task, *, corrections: str = "", by: str = "line") -> Outcome:
        """Make a candidate for `task`, compare it with what is in production, release it if it won.

        `corrections` is the digest of corrected examples (JSON lines). Killed at any point, the same call goes on
        where it was; called again with nothing changed, it only looks things up.
        """
        started = time.monotonic()
        if not task.task.owner:
            raise RefusedError(
                f'task {task.name} has no owner, so nothing made for it can be released: set task.owner = "mailto:..."'
            )
        material = RECIPES[task.kind].gather(task, self.runner, corrections)
        trained = self._train(task, material)
        incumbent = self._incumbent(task)
        if incumbent is not None and incumbent.stage_key == trained.key:
            return self._outcome(task, "unchanged", incumbent, trained, "", material, started)
        report = self._evaluate(task, trained.ref, trained.weights, material.judge)
        version = self._register(task, material, trained, report)
        verdict = self._decide(task, material, trained, report, incumbent)
        evidence = self.runner.artifacts.put_bytes(verdict.to_json())
        for line in verdict.story():
            self.runner.listen(Said(task=task.name, stage="gate", text=line))
        if verdict.promoted and task.turn.autonomy != "propose":
            self._promote(version, verdict, evidence, by)
            self.runner.listen(Said(task=task.name, stage="release", text=f"released {version.ref}"))
        return self._outcome(task, verdict.decision, version, trained, evidence, material, started)

    def evaluate_released(self, task: Task) -> Evaluation:
        """Return the evaluation of what answers for `task` now, on its gold set of today."""
        material = RECIPES[task.kind].gather(task, self.runner, "")
        version = self._incumbent(task)
        if version is None:
            raise NotFoundError(f"nothing is released for task {task.name}; run: tokenworks train FILE")
        return self._read(self._evaluate(task, version.ref, version.folder, material.judge))

    def _incumbent(self, task: Task) -> ModelVersion | None:
        """Return the version that answers for `task` now."""
        current = self.runner.catalog.releases.current(task.name)
        if current is None or current.version == 0:
            return None
        return self.runner.catalog.models.get(current.model, current.version)

    def _train(self, task: Task, material: Material) -> Trained:
        recipe = RECIPES[task.kind]
        params = recipe.params(task)
        plan = self.runner.run(recipe.trainer.PLAN, material.train, params, task=task.name)
        inputs = {**material.train, "plan": plan["plan"]}
        made = self.runner.run(recipe.trainer.TRAIN, inputs, params, task=task.name)
        key = stage_key(recipe.trainer.TRAIN, inputs, params)
        return Trained(made["model"], key, f"{task.name}@{made['model'][:12]}")

    def _evaluate(self, task: Task, ref: str, folder: str, judge: Mapping[str, str]) -> str:
        self.judge.offer(ref, folder)
        params = EvaluateParams(
            task=task.name,
            kind=task.kind,
            metric=task.metric,
            model_ref=ref,
            schema=_schema(task),
            seed=task.model.seed,
            max_tokens=_answer_room(self.runner.artifacts.folder(folder)),
        )
        stage = evaluate_stage(self.judge.answer)
        return self.runner.run(stage, {"model": folder, **judge}, params, task=task.name)["evaluation"]

    def _register(self, task: Task, material: Material, trained: Trained, report: str) -> ModelVersion:
        """Sign the candidate with its bill of materials and give it a number; known already, it keeps its number."""
        label = _label(self.runner.catalog, task, material)
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
            created_at=self.clock.now(),
        )
        return register(version, catalog=self.runner.catalog, ledger=self.runner.ledger)

    def _decide(
        self, task: Task, material: Material, trained: Trained, report: str, incumbent: ModelVersion | None
    ) -> Verdict:
        """Compare with what is in production, on the same items; a first model is compared with its baselines."""
        candidate = self._read(report)
        if incumbent is None:
            return decide(candidate, None, check=task.check, limits=task.limits)
        before = self._read(self._evaluate(task, incumbent.ref, incumbent.folder, material.judge))
        fresh = self._fresh(task, material, trained, incumbent)
        return decide(candidate, before, check=task.check, limits=task.limits, fresh=fresh)

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

    def _fresh(
        self, task: Task, material: Material, trained: Trained, incumbent: ModelVersion
    ) -> tuple[Evaluation, Evaluation] | None:
        """Return candidate and incumbent on corrections that neither was trained on."""
        if not material.fresh or not self.runner.artifacts.size(material.fresh):
            return None
        judge = {"gold": material.fresh}
        after = self._evaluate(task, trained.ref, trained.weights, judge)
        before = self._evaluate(task, incumbent.ref, incumbent.folder, judge)
        return self._read(after), self._read(before)

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
            released=self._incumbent(task) == version,
            version=version,
            weights=trained.weights,
            evaluation=version.evaluation,
            verdict=evidence,
            reports=dict(material.report),
            seconds=time.monotonic() - started,
        )


def _label(catalog: Catalog, task: Task, material: Material) -> Label:
    """Return the highest label among the documents, the examples and the base model."""
    name, _, number = task.model.base.partition("@")
    base = catalog.models.get(name, int(number)) if number.isdigit() else None
    return highest([material.label, *([Label.parse(base.label)] if base else [])])


def _answer_room(folder: Path) -> int:
    """Return how long an answer may be when judged: half the model's context, so that prompts have the other half."""
    context = msgspec.json.decode((folder / "config.json").read_bytes()).get(
        "max_position_embeddings", 2 * ANSWER_TOKENS
    )
    return min(ANSWER_TOKENS, int(context) // 2)


def _schema(task: Task) -> dict[str, Any] | None:
    if not task.data.schema:
        return None
    schema: dict[str, Any] = msgspec.json.decode(task.path(task.data.schema).read_bytes())
    return schema
