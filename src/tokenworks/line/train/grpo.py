"""GRPO: reinforce answers that a grader finds right (Shao 2024, corrected as in Liu 2025), full or LoRA."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.grading import RewardName, reward_named
from tokenworks.line.train import tune
from tokenworks.line.train._chat_tokens import prompt_ids
from tokenworks.line.train._conversations import read_conversations
from tokenworks.line.train._encoder_torch import prepare
from tokenworks.line.train._fit import fit
from tokenworks.line.train._grpo import FIGURES, Question, Terms, objectives
from tokenworks.line.train._sampling import Sampling, stop_tokens
from tokenworks.line.train._sft import Recipe, trainee
from tokenworks.line.train._sft_out import write_product
from tokenworks.line.train._sft_plan import RESERVE, SMALL, read_plan, usual_rate
from tokenworks.line.train.causal.budget import parse_budget

VERSION = "1"
GENTLER = 0.1  # of the learning rate of supervised tuning
PROBES = 2  # steps that are timed; the first one warms up


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """How to reinforce. The same for both stages."""

    reward: RewardName = "exact_match"
    method: Literal["auto", "full", "lora"] = "auto"
    budget: str = "3m"
    seed: int = 0
    rank: int = 16
    learning_rate: float = 0.0  # 0: by the width of the model
    epochs: float = 2.0  # passes over the questions at most
    max_length: int = 1024  # tokens of a prompt and its answer at most; longer prompts are skipped
    max_tokens: int = 128  # of an answer; one that is cut off earns nothing
    prompts: int = 4  # of a step
    group: int = 8  # answers to each prompt
    temperature: float = 1.0
    kl: float = 0.04  # how dear it is to leave the base (Shao 2024); 0: free
    normalise: Literal["none", "std"] = "none"
    kind: str = "chat"
    schema: dict[str, Any] | None = None  # extract: of every answer, for the card
    base: str = ""
    description: str = ""


class GrpoPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a reinforcement, as recorded."""

    method: str
    steps: int
    expected_s: float
    epochs: float
    recipe: Recipe
    why: str


def _plan(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Return {"plan"}: how many steps `params.budget` buys on this machine, from steps that are timed."""
    wanted = parse_budget(params.budget)
    prepare(bench.threads)
    base = bench.artifacts.folder(inputs["base"])
    questions, tokenizer, _, skipped = _questions(inputs, base, params, bench)
    bench.progress(0, None, note="measuring this machine")
    method, recipe, parameters = _recipe(base, params)
    learner = trainee(base, recipe)
    steps = objectives(learner, questions, recipe, _terms(params, base, tokenizer), tokenizer)
    told, seconds = list[tuple[float, ...]](), 0.0
    for _ in range(PROBES):
        started = time.perf_counter()
        loss, figures = next(steps)()
        if loss.requires_grad:
            loss.backward()
        seconds = time.perf_counter() - started
        told.append(figures)
    right = sum(figures[0] for figures in told) / PROBES
    tokens = told[-1][FIGURES.index("tokens")] * params.prompts * params.group
    flops = 10 * parameters * tokens  # drawn (2), trained (6), and once under the base (2)
    cost = {"seconds": seconds / RESERVE, "tokens": tokens, "flops": flops}[wanted.kind]
    affordable = max(1, int(wanted.amount / cost))
    allowed = max(1, round(params.epochs * len(questions) / params.prompts))
    count = min(affordable, allowed)
    bound = f"the budget of {params.budget} allows no more" if affordable < allowed else "more would learn by heart"
    passes = count * params.prompts / len(questions)
    plan = GrpoPlan(
        method=method, steps=count, expected_s=round(count * seconds, 1), epochs=round(passes, 3),
        recipe=msgspec.structs.replace(recipe, steps=count),
        why=f"{method}: {parameters / 1e6:.1f} M parameters; {seconds:.2f} s for a step of {params.prompts} x "
        f"{params.group} answers, mean reward {right:.2f} before; {passes:.2f} passes over {len(questions)} questions "
        f"({skipped} too long), {bound}",
    )  # fmt: skip
    return {"plan": bench.artifacts.put_bytes(msgspec.json.encode(plan))}


def _train(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Return {"model": folder, "log": JSON} and, for LoRA, {"adapter"}.

    Raises `DataError` where no group of answers ever differed in reward: then nothing was learnt.
    """
    prepare(bench.threads)
    base = bench.artifacts.folder(inputs["base"])
    plan = read_plan(bench.artifacts.get_bytes(inputs["plan"]), GrpoPlan)
    questions, tokenizer, template, skipped = _questions(inputs, base, params, bench)
    learner = trainee(base, plan.recipe)
    told = fit(
        learner.trained,
        objectives(learner, questions, plan.recipe, _terms(params, base, tokenizer), tokenizer),
        steps=plan.steps, learning_rate=plan.recipe.learning_rate, seed=plan.recipe.seed,
        checkpoint=bench.scratch / "grpo.checkpoint", threads=bench.threads, progress=bench.progress,
    )  # fmt: skip
    columns = {name: [round(row[place], 5) for row in told] for place, name in enumerate(FIGURES, 1)}
    _require_signal(columns, params)
    about = f"Reinforced by {params.reward} on {len(questions)} questions ({plan.method})."
    card: dict[str, Any] = {"kind": params.kind, "base": params.base, "description": params.description or about}
    card |= {"schema": params.schema} if params.schema is not None else {}
    outputs = write_product(
        bench, base, learner, plan.recipe, template=template, card=card,
        base_name=params.base or f"sha256:{inputs['base']}",
    )  # fmt: skip
    log = {
        "method": plan.method, "steps": plan.steps, "questions": len(questions), "skipped": skipped,
        "answers": plan.steps * params.prompts * params.group, "loss": [round(row[0], 6) for row in told], **columns,
    }  # fmt: skip
    return {**outputs, "log": bench.artifacts.put_bytes(msgspec.json.encode(log))}


def _require_signal(columns: Mapping[str, list[float]], params: Params) -> None:
    if any(columns["spread"]):
        return
    reward = sum(columns["reward"]) / len(columns["reward"])
    if reward == 0 and not any(columns["ended"]):
        raise DataError(
            f"no sampled answer came to its end within {params.max_tokens} tokens, so none was rewarded: "
            "raise max_tokens, or tune on examples first"
        )
    raise DataError(
        f"all answers to a question earned the same ({params.reward}, mean {reward:.2f}): nothing to reinforce; "
        + ("the base knows it already" if reward == 1 else "tune on examples first, or take an easier reward")
    )


def _questions(
    inputs: Mapping[str, str], base: Path, params: Params, bench: Bench
) -> tuple[list[Question], Any, str, int]:
    """Return the questions with room for an answer, the tokenizer, a template to add, and how many are skipped."""
    conversations = read_conversations(bench.artifacts.get_bytes(inputs["train"]))
    tokenizer, template = tune.tokenizer_of(base)
    room = tune.context(base, params.max_length) - params.max_tokens
    if room < 1:
        raise ConfigError(f"max_tokens {params.max_tokens} leaves no room for a prompt in the base's context: lower it")
    asked = [Question(prompt_ids(one[:-1], tokenizer), one[-1].content) for one in conversations if len(one) > 1]
    found = [question for question in asked if len(question.ids) <= room]
    if not found:
        raise DataError(
            f"none of {len(conversations)} prompts fits into {room} tokens beside an answer: shorten them, lower "
            "max_tokens, or take a base with a longer context"
        )
    return found, tokenizer, template, len(conversations) - len(found)


def _terms(params: Params, base: Path, tokenizer: Any) -> Terms:
    if params.group < 2 or params.prompts < 1:
        raise ConfigError(f"group is {params.group} and prompts {params.prompts}: at least 2 answers to 1 prompt")
    return Terms(
        reward=reward_named(params.reward),
        sampling=Sampling(params.max_tokens, params.temperature, stop_tokens(base, tokenizer)),
        prompts=params.prompts,
        group=params.group,
        kl=params.kl,
        normalise=params.normalise,
    )


def _recipe(base: Path, params: Params) -> tuple[str, Recipe, int]:
    """Return the method, how to train, and the number of parameters."""
    first = Recipe(
        method="full", steps=1, learning_rate=1e-4, precision="f32", batch_tokens=0, max_length=params.max_length,
        rank=params.rank, seed=params.seed,
    )  # fmt: skip
    model = trainee(base, first).model
    parameters = sum(value.numel() for value in model.parameters())
    method = params.method if params.method != "auto" else "full" if parameters <= SMALL else "lora"
    rate = params.learning_rate or GENTLER * usual_rate(int(model.config.hidden_size), method)
    return method, msgspec.structs.replace(first, method=method, learning_rate=rate), parameters


PLAN = Stage(name="train.grpo.plan", version=VERSION, run=_plan)
TRAIN = Stage(name="train.grpo", version=VERSION, run=_train)
