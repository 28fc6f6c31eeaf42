"""Candidate and incumbent on the same items, asked through the same path as everybody, and the gate's word on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.model import ModelVersion
from tokenworks.core.request import Answerer
from tokenworks.core.task import Task
from tokenworks.line.evaluate.gate import ALPHA, decide
from tokenworks.line.evaluate.guards import slow
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.stage import evaluate_stage
from tokenworks.line.evaluate.timing import Timed, TimingParams, timing_stage
from tokenworks.line.evaluate.verdict import Verdict
from tokenworks.line.recipes import Material
from tokenworks.line.run import Runner

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
class Judged:
    """A candidate's evaluation and the gate's word on it."""

    report: str  # digest
    verdict: Verdict
    engine_s: float  # seconds of engines that the judging took, where it was not known already


@dataclass(frozen=True)
class Comparing:
    """What comparisons work with."""

    runner: Runner
    judge_by: Judge

    def judge(
        self, task: Task, material: Material, trained: Trained, incumbent: ModelVersion | None, *, rivals: int = 1
    ) -> Judged:
        """Compare a candidate with the incumbent on the same items; a first model is compared with its baselines.

        With several `rivals` for one place, each is judged at alpha / rivals (Bonferroni).
        """
        started = time.monotonic()
        report = self.evaluate(task, trained.ref, trained.weights, material.judge)
        candidate, alpha = self._read(report), ALPHA / rivals
        if incumbent is None:
            verdict = decide(candidate, None, check=task.check, limits=task.limits, alpha=alpha)
            return Judged(report, verdict, time.monotonic() - started)
        before = self._read(self.evaluate(task, incumbent.ref, incumbent.folder, material.judge))

        def both(gold: str) -> tuple[Evaluation, Evaluation] | None:
            return self._both(task, trained, incumbent, {**material.judge, "gold": gold}) if gold else None

        said = partial(
            decide,
            candidate,
            before,
            check=task.check,
            limits=task.limits,
            fresh=both(material.fresh),
            general=both(material.general),
            safety=both(material.safety),
            alpha=alpha,
        )
        verdict = said()
        if slow(verdict) and "gold" in material.judge:
            # The two were measured at different times, and the machine may have been busy in one of them.
            verdict = said(timed=self._timed(task, trained, incumbent, material.judge["gold"]))
        return Judged(report, verdict, time.monotonic() - started)

    def evaluate(self, task: Task, ref: str, folder: str, judge: Mapping[str, str]) -> str:
        """Return the digest of the evaluation of a model; known already, it is looked up."""
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

    def _timed(self, task: Task, trained: Trained, incumbent: ModelVersion, gold: str) -> Timed:
        for ref, folder in ((trained.ref, trained.weights), (incumbent.ref, incumbent.folder)):
            self.judge_by.offer(ref, folder)
        params = TimingParams(
            task=task.name,
            kind=task.kind,
            candidate=trained.ref,
            incumbent=incumbent.ref,
            schema=_schema(task),
            seed=task.model.seed,
            max_tokens=_answer_room(self.runner.artifacts.folder(trained.weights)),
        )
        inputs = {"model": trained.weights, "other": incumbent.folder, "gold": gold}
        found = self.runner.run(timing_stage(self.judge_by.answer), inputs, params, task=task.name)
        return msgspec.json.decode(self.runner.artifacts.get_bytes(found["timed"]), type=Timed)

    def _both(
        self, task: Task, trained: Trained, incumbent: ModelVersion, judge: Mapping[str, str]
    ) -> tuple[Evaluation, Evaluation] | None:
        """Return candidate and incumbent on the same items; baselines are for gold alone."""
        if not self.runner.artifacts.size(judge["gold"]):
            return None
        inputs = {name: digest for name, digest in judge.items() if name != "train"}
        after = self.evaluate(task, trained.ref, trained.weights, inputs)
        before = self.evaluate(task, incumbent.ref, incumbent.folder, inputs)
        return self._read(after), self._read(before)

    def _read(self, digest: str) -> Evaluation:
        return Evaluation.from_json(self.runner.artifacts.get_bytes(digest))


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
