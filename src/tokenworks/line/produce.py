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
from tokenworks.line.evaluate.gate import ALPHA, decide
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.stage import evaluate_stage
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
    label: str = "public"  # of the model that its training began at, beyond the task's base


@dataclass(frozen=True)
class Way:
    """How a candidate is made: a module of line/train with its parameters, and its inputs besides the plan."""

    name: str  # sft, dpo, ...
    trainer: Any
    params: Any
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Judged:
    """A candidate's evaluation and the gate's word on it."""

    report: str  # digest
    verdict: Verdict
    engine_s: float  # seconds of engines that the judging took, where it was not known already


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
        return self._read(self._evaluate(task, version.ref, version.folder, material.judge))

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
        """Compare a candidate with the incumbent on the same items; a first model is compared with its baselines.

        With several `rivals` for one place, each is judged at alpha / rivals (Bonferroni).
        """
        started = time.monotonic()
        report = self._evaluate(task, trained.ref, trained.weights, material.judge)
        candidate, alpha = self._read(report), ALPHA / rivals
        if incumbent is None:
            verdict = decide(candidate, None, check=task.check, limits=task.limits, alpha=alpha)
            return Judged(report, verdict, time.monotonic() - started)
        before = self._read(self._evaluate(task, incumbent.ref, incumbent.folder, material.judge))

        def both(gold: str) -> tuple[Evaluation, Evaluation] | None:
            return self._both(task, trained, incumbent, {**material.judge, "gold": gold}) if gold else None

        verdict = decide(
            candidate,
            before,
            check=task.check,
            limits=task.limits,
            fresh=both(material.fresh),
            general=both(material.general),
            safety=both(material.safety),
            alpha=alpha,
        )
        return Judged(report, verdict, time.monotonic() - started)

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

    def _evaluate(self, task: Task, ref: str, folder: str, judge: Mapping[str, str]) -> str:
        self.judge_by.offer(ref, folder)
        params = EvaluateParams(
            task=task.name,
            kind=task.kind,
            metric=task.metric,
            model_ref=ref,
            schema=_schema(task),
            seed=task.model.seed,
            max_tokens=_answer_room(self.runner.artifacts.folder(folder)),
        )
        stage = evaluate_stage(self.judge_by.answer)
        return self.runner.run(stage, {"model": folder, **judge}, params, task=task.name)["evaluation"]

    def _both(
        self, task: Task, trained: Trained, incumbent: ModelVersion, judge: Mapping[str, str]
    ) -> tuple[Evaluation, Evaluation] | None:
        """Return candidate and incumbent on the same items; baselines are for gold alone."""
        if not self.runner.artifacts.size(judge["gold"]):
            return None
        inputs = {name: digest for name, digest in judge.items() if name != "train"}
        after = self._evaluate(task, trained.ref, trained.weights, inputs)
        before = self._evaluate(task, incumbent.ref, incumbent.folder, inputs)
        return self._read(after), self._read(before)

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
