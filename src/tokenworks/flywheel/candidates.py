"""The ways of making a candidate: which tasks each serves, what it needs, and what it is run with. Data, no work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tokenworks.core.errors import ConfigError
from tokenworks.core.task import Kind, Task
from tokenworks.line.train import dpo, grpo, prompt

Name = Literal["sft", "dpo", "grpo", "distil", "prompt"]
Schema = Mapping[str, Any] | None
VERIFIABLE = frozenset({"exact_match", "json_match"})  # metrics of which each answer is right or wrong by its text


@dataclass(frozen=True)
class Strategy:
    """One way of making a candidate.

    `needs` are rows at least, by part of the selection. Without a `trainer` the usual one of the kind is run.
    """

    name: Name
    kinds: frozenset[Kind]
    needs: Mapping[str, int]
    takes: tuple[str, ...]  # inputs of the trainer besides "base", as parts; absent ones are left out
    says: str  # what it is, for people
    trainer: Any = None  # a module of line/train: Params, PLAN, TRAIN
    params: Callable[[Task, Schema], Any] | None = None
    from_incumbent: bool = False  # begins at the weights that answer now, not at the task's base


@dataclass(frozen=True)
class Choice:
    """What can be tried in this turn, and why the rest cannot."""

    strategies: tuple[Strategy, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def available(task: Task, counts: Mapping[str, int], *, incumbent: bool = True) -> Choice:
    """Return the strategies that `task` names (or its kind usually takes) and that `counts` rows of each part allow.

    `incumbent` says whether a model answers already. Raises `ConfigError` for a name that is none.
    """
    wanted = task.turn.candidates or usual(task.kind)
    unknown = [name for name in wanted if name not in STRATEGIES]
    if unknown:
        raise ConfigError(f"task {task.name}: turn.candidates names {unknown[0]!r}; there are {', '.join(STRATEGIES)}")
    reasons = {name: _why_not(STRATEGIES[name], task, counts, incumbent) for name in dict.fromkeys(wanted)}
    return Choice(
        tuple(STRATEGIES[name] for name, reason in reasons.items() if not reason),
        {name: reason for name, reason in reasons.items() if reason},
    )


def usual(kind: Kind) -> tuple[Name, ...]:
    """Return what is tried where the task names nothing: every further rival makes the gate stricter for all."""
    return ("sft", "dpo") if kind == "chat" else ("sft",)


def inputs_of(strategy: Strategy, parts: Mapping[str, str], base: str) -> dict[str, str]:
    """Return the trainer's inputs: digests of the parts it takes that exist, and the folder it begins at."""
    return {**{name: parts[name] for name in strategy.takes if parts.get(name)}, "base": base}


def _why_not(strategy: Strategy, task: Task, counts: Mapping[str, int], incumbent: bool) -> str:
    if task.kind not in strategy.kinds:
        return f"{strategy.name} is for {', '.join(sorted(strategy.kinds))}, and this is a {task.kind} task"
    if strategy.from_incumbent and not incumbent:
        return f"{strategy.name} begins at the model that answers, and there is none yet"
    if strategy.name == "distil" and not task.turn.teacher:
        return "no teacher is named: set turn.teacher to a released model"
    if strategy.name == "grpo" and task.metric not in VERIFIABLE:
        return f"an answer cannot be verified by {task.metric}; check.metric must be exact_match or json_match"
    for part, least in strategy.needs.items():
        if counts.get(part, 0) < least:
            return f"{counts.get(part, 0)} {part} of the {least} it needs"
    return ""


def _method(task: Task) -> Literal["auto", "full", "lora"]:
    return "auto" if task.model.method == "head" else task.model.method


def _card(task: Task, schema: Schema) -> dict[str, Any]:
    return {"kind": task.kind, "schema": dict(schema) if schema is not None else None}


def _dpo(task: Task, schema: Schema) -> dpo.Params:
    return dpo.Params(
        method=_method(task),
        budget=task.model.budget,
        seed=task.model.seed,
        replay=task.turn.replay,
        **_card(task, schema),
    )


def _grpo(task: Task, schema: Schema) -> grpo.Params:
    reward: Literal["exact_match", "json_match"] = "json_match" if task.metric == "json_match" else "exact_match"
    return grpo.Params(
        reward=reward, method=_method(task), budget=task.model.budget, seed=task.model.seed, **_card(task, schema)
    )


def _prompt(task: Task, schema: Schema) -> prompt.Params:
    return prompt.Params(kind=task.kind)


_GENERATES: frozenset[Kind] = frozenset({"chat", "extract"})
STRATEGIES: Mapping[str, Strategy] = {
    one.name: one
    for one in (
        Strategy(
            name="sft",
            kinds=frozenset({"classify", "extract", "embed", "complete", "chat"}),
            needs={},
            takes=("train", "corpus", "clicks", "unlabelled", "earlier"),
            says="trained on right answers",
        ),
        Strategy(
            name="dpo",
            kinds=_GENERATES,
            needs={"pairs": 20},
            takes=("pairs", "train"),
            says="tuned on which of two answers people preferred",
            trainer=dpo,
            params=_dpo,
            from_incumbent=True,
        ),
        Strategy(
            name="grpo",
            kinds=_GENERATES,
            needs={"train": 16},
            takes=("train",),
            says="reinforced where its own answers are found right",
            trainer=grpo,
            params=_grpo,
            from_incumbent=True,
        ),
        Strategy(
            name="distil",
            kinds=frozenset({"classify", "extract", "chat"}),
            needs={"unlabelled": 20},
            takes=("train", "earlier"),
            says="trained on what a teacher answered",
        ),
        Strategy(
            name="prompt",
            kinds=_GENERATES,
            needs={"train": 1},
            takes=("train",),
            says="the same weights, shown examples",
            trainer=prompt,
            params=_prompt,
            from_incumbent=True,
        ),
    )
}
