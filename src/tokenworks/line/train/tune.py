"""Tune: teach a causal language model to answer as in example conversations, by full or LoRA fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import DataError, MissingExtraError
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.train._chat_tokens import Samples, plain_template, tokenize
from tokenworks.line.train._conversations import Conversation, read_conversations
from tokenworks.line.train._encoder_torch import prepare
from tokenworks.line.train._replay import replayed
from tokenworks.line.train._sft import train
from tokenworks.line.train._sft_out import write_product
from tokenworks.line.train._sft_plan import SftPlan, make_plan, read_plan

VERSION = "1"


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """How to tune. The same for both stages."""

    method: Literal["auto", "full", "lora"] = "auto"
    budget: str = "3m"  # "90s", "3m", "2M tokens", "2e15 flops"
    seed: int = 0
    rank: int = 16  # lora
    learning_rate: float = 0.0  # 0: by the width of the model
    epochs: float = 3.0  # passes over the examples at most
    max_length: int = 1024  # tokens of one conversation at most; the base's context where that is shorter
    batch_tokens: int = 4096  # at most
    replay: float = 0.2  # share of earlier conversations in what is learnt from, where "earlier" is given
    base: str = ""  # name of the base, for the model's card
    description: str = ""  # one honest sentence; empty: written from the plan


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What a way to tune adds: how lines are checked, long ones treated, and the card's own keys."""

    kind: str = "chat"
    too_long: str = "truncate"
    check: Callable[[Conversation], Conversation] | None = None
    card: dict[str, Any] = {}


def plan_tuning(inputs: Mapping[str, str], params: Params, bench: Bench, lesson: Lesson) -> Outputs:
    """Return {"plan"}: a token budget for `params.budget` on this machine."""
    prepare(bench.threads)
    base = bench.artifacts.folder(inputs["base"])
    found, _ = _samples(inputs, base, params, bench, lesson)
    plan = make_plan(
        base, found, method=params.method, budget=params.budget, epochs=params.epochs, rank=params.rank,
        learning_rate=params.learning_rate, seed=params.seed, batch_tokens=params.batch_tokens,
        max_length=context(base, params.max_length), threads=bench.threads, progress=bench.progress,
    )  # fmt: skip
    return {"plan": bench.artifacts.put_bytes(msgspec.json.encode(plan))}


def tune(inputs: Mapping[str, str], params: Params, bench: Bench, lesson: Lesson) -> Outputs:
    """Return {"model": folder, "log": JSON} and, for LoRA, {"adapter": folder in peft's format}."""
    prepare(bench.threads)
    base = bench.artifacts.folder(inputs["base"])
    plan = read_plan(bench.artifacts.get_bytes(inputs["plan"]), SftPlan)
    found, template = _samples(inputs, base, params, bench, lesson)
    learner, losses = train(
        base, found.samples, plan.recipe, scratch=bench.scratch, threads=bench.threads, progress=bench.progress
    )
    about = f"Fine-tuned ({plan.method}) from {params.base or 'a base model'} on {len(found.samples)} conversations."
    described = {"kind": lesson.kind, "base": params.base, "description": params.description or about}
    outputs = write_product(
        bench, base, learner, plan.recipe, template=template, card={**described, **lesson.card},
        base_name=params.base or f"sha256:{inputs['base']}",
    )  # fmt: skip
    log = {
        "method": plan.method, "steps": plan.steps, "tokens": plan.tokens, "trainable": plan.trainable,
        "conversations": len(found.samples), "truncated": found.truncated, "skipped": found.skipped,
        "chat_template": "plain default, the base has none" if template else "the base's own",
        "loss": [round(loss, 5) for loss in losses],
    }  # fmt: skip
    return {**outputs, "log": bench.artifacts.put_bytes(msgspec.json.encode(log))}


def tokenizer_of(base: Path) -> tuple[Any, str]:
    """Return the tokenizer of `base`, and the template that was added to it where it has none of its own."""
    tokenizer = _tokenizer(base)
    template = "" if tokenizer.chat_template else plain_template(tokenizer)
    if template:
        tokenizer.chat_template = template
    return tokenizer, template


def context(base: Path, max_length: int) -> int:
    """Return how many tokens a conversation may have: `max_length`, or the base's context where that is shorter."""
    config = base / "config.json"
    if not config.is_file():
        raise DataError(f"{base} has no config.json: give a Hugging Face folder of a causal language model")
    room = msgspec.json.decode(config.read_bytes()).get("max_position_embeddings") or max_length
    return min(max_length, int(room))


def _samples(
    inputs: Mapping[str, str], base: Path, params: Params, bench: Bench, lesson: Lesson
) -> tuple[Samples, str]:
    """Return the tokenized conversations, and the template to add where the base has none."""
    conversations = read_conversations(bench.artifacts.get_bytes(inputs["train"]), check=lesson.check)
    if params.replay and "earlier" in inputs and (data := bench.artifacts.get_bytes(inputs["earlier"])):
        earlier = read_conversations(data, check=lesson.check)
        conversations = conversations + replayed(earlier, len(conversations), share=params.replay, seed=params.seed)
    tokenizer, template = tokenizer_of(base)
    room = context(base, params.max_length)
    return tokenize(conversations, tokenizer, max_length=room, too_long=lesson.too_long), template


def _tokenizer(base: Path) -> Any:
    try:
        from transformers import AutoTokenizer  # heavy: only training pays for it
    except ImportError:
        raise MissingExtraError("tuning a model", "train") from None
    if not (base / "tokenizer.json").is_file():
        raise DataError(f"{base} has no tokenizer.json: save the model's fast tokenizer into the folder")
    return AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)


def _plan(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    return plan_tuning(inputs, params, bench, Lesson())


def _train(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    return tune(inputs, params, bench, Lesson())


PLAN = Stage(name="train.tune.plan", version=VERSION, run=_plan)
TRAIN = Stage(name="train.tune", version=VERSION, run=_train)
