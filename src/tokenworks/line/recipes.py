"""What each kind of task is made from, and by which trainer: the table from task file to stages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label, highest
from tokenworks.core.stage import Outputs
from tokenworks.core.task import Task, seconds_of
from tokenworks.line.curate.examples import EXAMPLES, ExamplesParams
from tokenworks.line.curate.report import read_manifest
from tokenworks.line.curate.split import SPLIT, SplitParams
from tokenworks.line.curate.stage import CURATE, CurateParams
from tokenworks.line.ingest.params import DEFAULT_EXCLUDE, IngestParams, Source
from tokenworks.line.ingest.stage import INGEST, fingerprint
from tokenworks.line.release.inspect import inspect_folder
from tokenworks.line.run import Runner
from tokenworks.line.train import classify, embed, extract, pretrain, tune
from tokenworks.line.train.bases import resolve_base

EXCLUDED = "excluded"  # kind of the objects that name erased documents, as "source/path"


@dataclass(frozen=True)
class Material:
    """What a task learns from and is judged on: artifacts by role, and the highest label among them."""

    train: Mapping[str, str]  # inputs of the trainer
    judge: Mapping[str, str]  # inputs of the evaluation, besides the model
    label: Label
    report: Mapping[str, str]  # reports for people, by stage
    fresh: str = ""  # feedback held out, as examples
    general: str = ""  # frozen examples of what must not be forgotten
    safety: str = ""  # frozen examples that must not turn wrong


class Additions(msgspec.Struct, frozen=True, kw_only=True):
    """What the flywheel selected for a task: digests of JSON lines by role, empty where there is none."""

    train: str = ""  # examples
    fresh: str = ""  # examples that are only measured on
    pairs: str = ""  # preferences
    clicks: str = ""  # queries with the document that answered
    unlabelled: str = ""  # what was asked, without a right answer
    label: str = "public"  # the highest of the requests behind it


@dataclass(frozen=True)
class Recipe:
    """One kind of task."""

    gather: Callable[[Task, Runner, Additions], Material]
    trainer: Any  # a module of line/train: Params, PLAN, TRAIN
    params: Callable[[Task], Any]


def documents(task: Task, runner: Runner) -> Outputs:
    """Return {"corpus", "set_aside", "report", "ingest_report"} of the task's sources."""
    params = ingest_params(task, runner)
    read = runner.run(INGEST, {"listing": fingerprint(params)}, params, task=task.name)
    inputs = {"documents": read["documents"], "set_aside": read["set_aside"]}
    kept = runner.run(CURATE, inputs, CurateParams(max_label=task.task.label), task=task.name)
    return {**kept, "ingest_report": read["report"]}


def ingest_params(task: Task, runner: Runner) -> IngestParams:
    """Return how the documents of `task` are read; those erased on request are left out."""
    sources = tuple(_source(task, name) for name in task.data.sources)
    names = {source.name for source in sources}
    erased = (one.id for one in runner.catalog.objects.of(EXCLUDED))
    return IngestParams(
        sources=sources,
        processes=runner.processes,
        memory_mb=runner.memory_mb,
        erased=tuple(sorted(each for each in erased if each.partition("/")[0] in names)),
    )


def _source(task: Task, name: str) -> Source:
    path = task.path(name)
    if not path.exists():
        raise ConfigError(f"task {task.name}: data.sources names {path}, which does not exist")
    return Source(
        name=path.name,
        path=str(path),
        label=str(min(task.label, Label.INTERNAL)),  # front matter, rules and detectors may raise it
        licence=task.data.licence,
        include=task.data.include,
        exclude=DEFAULT_EXCLUDE + task.data.exclude,
    )


def _corpus_label(runner: Runner, corpus: str) -> Label:
    """Return the highest label of the corpus; documents above the task's own label were set aside by curate."""
    return Label.parse(read_manifest(runner.artifacts.folder(corpus)).label)


def _from_documents(task: Task, runner: Runner, added: Additions) -> Material:
    corpus = documents(task, runner)
    label = _corpus_label(runner, corpus["corpus"])
    params = SplitParams(held_out=task.check.held_out, seed=task.model.seed)
    parts = runner.run(SPLIT, {"corpus": corpus["corpus"]}, params, task=task.name)
    both = {"train": parts["train"], "held_out": parts["held_out"]}
    return Material(both, both, label, {"ingest": corpus["ingest_report"], "curate": corpus["report"]})


def _from_examples(task: Task, runner: Runner, added: Additions) -> Material:
    inputs = {"examples": _blob(task, runner, task.data.examples, "data.examples")}
    if task.check.gold:
        inputs["gold"] = _blob(task, runner, task.check.gold, "check.gold")
    if added.train:
        inputs["corrections"] = added.train
    if added.fresh:
        inputs["fresh"] = added.fresh
    params = ExamplesParams(
        task=task.name,
        kind=task.kind,
        examples_name=task.data.examples,
        gold_name=task.check.gold or "gold",
        held_out=task.check.held_out,
        seed=task.model.seed,
        label=task.task.label,
    )
    made = runner.run(EXAMPLES, inputs, params, task=task.name)
    base = {"train": made["train"], "base": _base(task, runner)}
    if task.kind == "classify" and added.unlabelled:
        base["unlabelled"] = added.unlabelled
    judge = {"train": made["train"], "gold": made["gold"]}
    return Material(
        base,
        judge,
        highest([task.label, Label.parse(added.label)]),
        {"examples": made["report"]},
        fresh=made.get("fresh", ""),
        general=_optional(task, runner, task.check.general, "check.general"),
        safety=_optional(task, runner, task.check.safety, "check.safety"),
    )


def _for_search(task: Task, runner: Runner, added: Additions) -> Material:
    corpus = documents(task, runner)
    label = _corpus_label(runner, corpus["corpus"])
    judge = {"gold": _blob(task, runner, task.check.gold, "check.gold")}
    judge["documents"] = corpus["corpus"]
    train = {"corpus": corpus["corpus"], "base": _base(task, runner)}
    if added.clicks:
        train["clicks"] = added.clicks
    return Material(
        train,
        judge,
        highest([label, Label.parse(added.label)]),
        {"ingest": corpus["ingest_report"], "curate": corpus["report"]},
        fresh=added.fresh,
        general=_optional(task, runner, task.check.general, "check.general"),
        safety=_optional(task, runner, task.check.safety, "check.safety"),
    )


def _blob(task: Task, runner: Runner, name: str, key: str) -> str:
    if not name:
        raise ConfigError(f"task {task.name}: a {task.kind} task is judged on {key}; name the file")
    path = task.path(name)
    if not path.is_file():
        raise ConfigError(f"task {task.name}: {key} names {path}, which does not exist")
    return runner.artifacts.put_file(path)


def _optional(task: Task, runner: Runner, name: str, key: str) -> str:
    return _blob(task, runner, name, key) if name else ""


def _base(task: Task, runner: Runner) -> str:
    """Return the digest of the folder that training starts from: a model of ours, the built-in encoder, or a folder."""
    name = task.model.base
    if re.fullmatch(r"[a-z0-9-]+@\d+", name):
        made = runner.catalog.stages.get(runner.catalog.models.find(name).stage_key)
        return made.outputs["model"] if made is not None else runner.catalog.models.find(name).folder
    if task.kind in ("classify", "embed"):
        return runner.artifacts.put_folder(resolve_base(name, Path(task.folder)))
    folder = task.path(name)
    if not folder.is_dir():
        raise ConfigError(f"task {task.name}: model.base {folder} is no folder; name a Hugging Face folder or name@1")
    inspect_folder(folder)
    return runner.artifacts.put_folder(folder)


def _budget_s(task: Task) -> float:
    limit = seconds_of(task.model.budget)
    if limit is None:
        raise ConfigError(f'task {task.name}: model.budget of a {task.kind} task is a time such as "3m"')
    return limit


def _encoder_method(task: Task) -> Literal["auto", "head", "full"]:
    if task.model.method == "lora":
        raise ConfigError(f'task {task.name}: model.method "lora" is for chat and extract; use auto, head or full')
    return task.model.method


def _tune_params(task: Task) -> tune.Params:
    method = "auto" if task.model.method == "head" else task.model.method
    return tune.Params(method=method, budget=task.model.budget, seed=task.model.seed, base=task.model.base)


def _extract_params(task: Task) -> extract.Params:
    schema = msgspec.json.decode(task.path(task.data.schema).read_bytes())
    method = "auto" if task.model.method == "head" else task.model.method
    return extract.Params(
        method=method, budget=task.model.budget, seed=task.model.seed, base=task.model.base, schema=schema
    )


RECIPES: dict[str, Recipe] = {
    "classify": Recipe(
        _from_examples,
        classify,
        lambda task: classify.Params(
            method=_encoder_method(task), budget_s=_budget_s(task), seed=task.model.seed, base=task.model.base
        ),
    ),
    "complete": Recipe(
        _from_documents,
        pretrain,
        lambda task: pretrain.Params(budget=task.model.budget, seed=task.model.seed),
    ),
    "embed": Recipe(
        _for_search,
        embed,
        lambda task: embed.Params(budget_s=_budget_s(task), seed=task.model.seed, base=task.model.base),
    ),
    "chat": Recipe(_from_examples, tune, _tune_params),
    "extract": Recipe(_from_examples, extract, _extract_params),
}
