"""The task file: one declarative statement of what is wanted, from which everything else is derived."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.core.toml import read_toml

Kind = Literal["classify", "extract", "embed", "complete", "chat"]
Metric = Literal["accuracy", "macro_f1", "exact_match", "json_match", "recall@10", "ndcg@10", "bits_per_byte"]
METRIC_OF: dict[str, Metric] = {
    "classify": "accuracy",
    "extract": "json_match",
    "embed": "recall@10",
    "complete": "bits_per_byte",
    "chat": "exact_match",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class TaskHead(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants what, and how secret it may be."""

    name: str
    kind: Kind
    owner: str = ""
    deputy: str = ""
    label: str = "internal"
    tenant: str = ""  # whose keys alone may ask the model; empty: everybody's who is cleared for its label


class TaskData(msgspec.Struct, frozen=True, kw_only=True):
    """What the model learns from. Paths are relative to the task file."""

    sources: tuple[str, ...] = ()
    include: tuple[str, ...] = ()  # globs; empty: every file that a reader knows
    exclude: tuple[str, ...] = ()  # globs, beside the usual ones (.git, __pycache__, ...)
    licence: str = ""  # SPDX id of the sources, where they do not say it themselves
    examples: str = ""  # classify: CSV or JSONL of text,label; extract/chat: OpenAI fine-tuning JSONL
    schema: str = ""  # extract: the JSON Schema of the answer


class TaskModel(msgspec.Struct, frozen=True, kw_only=True):
    """Where training starts from, and what it may use."""

    base: str = "minilm"  # "minilm", "from-scratch", or a Hugging Face folder
    method: Literal["auto", "head", "full", "lora"] = "auto"
    budget: str = "3m"  # seconds ("90s"), minutes ("3m"), FLOPs ("2e15 flops") or tokens ("2M tokens")
    seed: int = 0


class TaskCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is judged right."""

    metric: Metric | None = None
    gold: str = ""  # the same format as the examples; without it a part of the examples is held out
    held_out: float = 0.2
    floor: dict[str, float] = {}
    margin: float = 0.02  # how much worse a candidate may be and still count as not worse
    general: str = ""  # frozen examples of what must not be forgotten, in the format of gold
    safety: str = ""  # frozen examples on which no candidate may be wrong where the incumbent is right
    latency_margin: float = 0.25  # how much slower at p95 a candidate may be: 0.25 is a quarter
    cost_margin: float = 0.25  # how much more a right answer may cost


class TaskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit of work may spend."""

    p95_ms: float | None = None
    joules_per_answer: float | None = None
    cost_per_1k_answers: float | None = None


class TaskCanary(msgspec.Struct, frozen=True, kw_only=True):
    """How a candidate that passed the gate is tried on live traffic. With a share of 0 the gate's word is enough."""

    share: float = 0.0  # of the users
    shadow: bool = False  # first answer beside the incumbent, shown to nobody
    margin: float = 0.02  # how much worse live outcomes may be and still count as not worse
    alpha: float = 0.05  # the probability of a wrong promotion, and of a wrong roll-back, however often one looks
    longest: str = "7d"  # after that a trial that decided nothing ends, and the incumbent stays


class TaskTurn(msgspec.Struct, frozen=True, kw_only=True):
    """When the flywheel turns, what it learns from, and how far it may go alone."""

    when: str = "200 new corrections"  # or "24h"
    autonomy: Literal["propose", "canary", "promote"] = "promote"  # propose: a person starts the trial; canary: ends it
    canary: TaskCanary = TaskCanary()
    candidates: tuple[str, ...] = ()  # sft, dpo, grpo, distil, prompt; empty: what the kind usually does
    teacher: str = ""  # a released model that `distil` asks
    replay: float = 0.2  # share of earlier examples in what a tuning step sees
    retention_days: float = 365.0  # older traffic is not learned from
    per_principal: float = 0.1  # the largest share of new examples that may come from one principal
    correction_s: float = 30.0  # of a person's time that a wrong answer takes: what payback is counted in


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A recurring piece of work that the factory makes a model for."""

    task: TaskHead
    data: TaskData = TaskData()
    model: TaskModel = TaskModel()
    check: TaskCheck = TaskCheck()
    limits: TaskLimits = TaskLimits()
    turn: TaskTurn = TaskTurn()
    folder: str = "."  # where relative paths start; set by `read_task`, never written in the file

    @property
    def name(self) -> str:
        """The name callers put into `model`."""
        return self.task.name

    @property
    def kind(self) -> Kind:
        """What sort of answer the task wants."""
        return self.task.kind

    @property
    def label(self) -> Label:
        """The highest data class that the task may see."""
        return Label.parse(self.task.label)

    @property
    def metric(self) -> Metric:
        """The figure the gate decides on: the one named, else the usual one of the kind."""
        return self.check.metric or METRIC_OF[self.kind]

    def path(self, relative: str) -> Path:
        """Return a path of the task file as an absolute one."""
        return (Path(self.folder) / Path(relative).expanduser()).resolve()


def read_task(path: Path) -> Task:
    """Return the task at `path`; raise `ConfigError` naming the line and the way out."""
    task = read_toml(path, Task)
    if task.folder != ".":
        raise ConfigError(f"{path}: unknown key 'folder'; paths are relative to the task file")
    task = msgspec.structs.replace(task, folder=str(path.resolve().parent))
    _check(task, path)
    return task


def seconds_of(budget: str) -> float | None:
    """Return the seconds of a budget given as time ("90s", "3m"), None for one given as work ("2M tokens")."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", budget)
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else None


def require_name(name: str, where: str) -> None:
    """Raise `ConfigError` where a task cannot be called `name`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where} {name!r} must be 1-63 of a-z, 0-9 and '-'")


def _check(task: Task, path: Path) -> None:
    """Refuse what is well-typed and still cannot be meant."""
    require_name(task.name, f"{path}: task.name")
    Label.parse(task.task.label)
    if not 0 < task.check.held_out < 0.9:
        raise ConfigError(f"{path}: check.held_out is {task.check.held_out}; it must lie between 0 and 0.9")
    if task.check.margin < 0:
        raise ConfigError(f"{path}: check.margin is {task.check.margin}; it cannot be negative")
    if task.kind in ("complete", "embed") and not task.data.sources:
        raise ConfigError(f'{path}: a {task.kind} task learns from documents: add data.sources = ["docs/"]')
    if task.kind in ("classify", "extract", "chat") and not task.data.examples:
        raise ConfigError(f'{path}: a {task.kind} task learns from examples: add data.examples = "examples.jsonl"')
    if task.kind == "extract" and not task.data.schema:
        raise ConfigError(f'{path}: an extract task needs data.schema = "answer.schema.json"')
