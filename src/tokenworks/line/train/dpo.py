"""DPO: teach a causal language model which of two answers people preferred (Rafailov 2023), full or LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.train import tune
from tokenworks.line.train._chat_tokens import Sample, Samples, tokenize
from tokenworks.line.train._conversations import read_conversations
from tokenworks.line.train._dpo import FIGURES, objectives, reference
from tokenworks.line.train._encoder_torch import prepare
from tokenworks.line.train._fit import fit
from tokenworks.line.train._preferences import Pairs, read_preferences, tokenize_pairs
from tokenworks.line.train._sft import trainee
from tokenworks.line.train._sft_out import write_product
from tokenworks.line.train._sft_plan import SftPlan, make_plan, read_plan, steps_for

VERSION = "1"
GENTLER = 0.1  # of the learning rate of supervised tuning: preferences are a weak signal, and large steps forget


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """How to tune on preferences. The same for both stages."""

    method: Literal["auto", "full", "lora"] = "auto"
    budget: str = "3m"
    seed: int = 0
    rank: int = 16
    learning_rate: float = 0.0  # 0: by the width of the model
    epochs: float = 3.0  # passes over the pairs at most
    max_length: int = 1024  # tokens of prompt and answer at most; longer pairs are skipped
    batch_tokens: int = 4096
    beta: float = 0.1  # how dear it is to leave the base
    replay: float = 0.2  # share of earlier answers in what a step sees, where "train" is given
    kind: str = "chat"
    schema: dict[str, Any] | None = None  # extract: of every answer, for the card
    base: str = ""
    description: str = ""


def _plan(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Return {"plan"}: what to do within `params.budget` on this machine."""
    _check(params)
    prepare(bench.threads)
    base = bench.artifacts.folder(inputs["base"])
    found, earlier, _ = _material(inputs, base, params, bench)
    answers = [answer for pair in found.pairs for answer in (pair.chosen, pair.rejected)]
    plan = make_plan(
        base, Samples(answers, 0, found.skipped), method=params.method, budget=params.budget, epochs=params.epochs,
        rank=params.rank, learning_rate=params.learning_rate, gentler=GENTLER, seed=params.seed,
        batch_tokens=params.batch_tokens, max_length=tune.context(base, params.max_length), threads=bench.threads,
        progress=bench.progress,
    )  # fmt: skip
    share = 1 - params.replay if earlier else 1.0
    plan = steps_for(plan, [pair.shape for pair in found.pairs], plan.tokens * share)
    return {"plan": bench.artifacts.put_bytes(msgspec.json.encode(plan))}


def _train(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Return {"model": folder, "log": JSON} and, for LoRA, {"adapter"}."""
    _check(params)
    prepare(bench.threads)
    base = bench.artifacts.folder(inputs["base"])
    plan = read_plan(bench.artifacts.get_bytes(inputs["plan"]), SftPlan)
    found, earlier, template = _material(inputs, base, params, bench)
    recipe = plan.recipe
    learner = trainee(base, recipe)
    known = reference(learner, found.pairs, recipe, bench.scratch / "reference.checkpoint", bench.progress)
    told = fit(
        learner.trained,
        objectives(learner, found.pairs, known, recipe, beta=params.beta, earlier=earlier, replay=params.replay),
        steps=recipe.steps, learning_rate=recipe.learning_rate, seed=recipe.seed,
        checkpoint=bench.scratch / "dpo.checkpoint", threads=bench.threads, progress=bench.progress,
    )  # fmt: skip
    about = f"Tuned on {len(found.pairs)} preferences ({plan.method}) from {params.base or 'a base model'}."
    card: dict[str, Any] = {"kind": params.kind, "base": params.base, "description": params.description or about}
    card |= {"schema": params.schema} if params.schema is not None else {}
    outputs = write_product(
        bench, base, learner, recipe, template=template, card=card, base_name=params.base or f"sha256:{inputs['base']}"
    )
    log = {
        "method": plan.method, "steps": recipe.steps, "pairs": len(found.pairs), "skipped": found.skipped,
        "earlier": len(earlier), "beta": params.beta, "loss": [round(row[0], 5) for row in told],
        **{name: [round(row[place], 5) for row in told] for place, name in enumerate(FIGURES, 1)},
    }  # fmt: skip
    return {**outputs, "log": bench.artifacts.put_bytes(msgspec.json.encode(log))}


def _material(inputs: Mapping[str, str], base: Path, params: Params, bench: Bench) -> tuple[Pairs, list[Sample], str]:
    """Return the pairs, earlier answers to replay, and the template to add where the base has none."""
    preferences = read_preferences(bench.artifacts.get_bytes(inputs["pairs"]))
    tokenizer, template = tune.tokenizer_of(base)
    room = tune.context(base, params.max_length)
    found = tokenize_pairs(preferences, tokenizer, max_length=room)
    earlier = list[Sample]()
    if params.replay and "train" in inputs and (data := bench.artifacts.get_bytes(inputs["train"])):
        conversations = read_conversations(data)
        earlier = tokenize(conversations, tokenizer, max_length=room, too_long="skip").samples
    return found, earlier, template


def _check(params: Params) -> None:
    if params.beta <= 0:
        raise ConfigError(f"beta is {params.beta}; it must be above 0, usually 0.1")
    if not 0 <= params.replay < 1:
        raise ConfigError(f"replay is {params.replay}; it is a share from 0 to below 1")


PLAN = Stage(name="train.dpo.plan", version=VERSION, run=_plan)
TRAIN = Stage(name="train.dpo", version=VERSION, run=_train)
