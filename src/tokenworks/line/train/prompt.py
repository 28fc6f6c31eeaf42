"""Prompt: the same weights with a system prompt and a few examples in the chat template, as a model of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.ids import canonical_json
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.train import tune
from tokenworks.line.train._baked import bake, read_template, replace_template, unbaked
from tokenworks.line.train._conversations import Conversation, as_dicts, read_conversations
from tokenworks.line.train._sft_out import COPIED, write_card
from tokenworks.line.train._shots import spread

VERSION = "1"
KEPT = (*COPIED, "config.json", "generation_config.json", "tokenworks.json", "model.safetensors.index.json")


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What to show the model before every question. The same for both stages."""

    system: str = ""  # the instruction; empty: none
    examples: int = 4  # at most
    share: float = 0.5  # of the context that instruction and examples may fill
    max_tokens: int = 256  # of an answer: room that is kept free beside the longest question
    kind: str = "chat"
    base: str = ""
    description: str = ""


class PromptPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the template, as recorded."""

    system: str
    shots: tuple[tuple[dict[str, str], ...], ...]
    tokens: int  # that every request becomes longer
    room: int  # tokens there were
    left_out: int  # examples chosen that did not fit
    why: str


def _plan(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Return {"plan"}: the examples that cover the training questions and leave room for question and answer."""
    if params.examples < 0 or not 0 < params.share < 1:
        raise ConfigError(f"examples is {params.examples}, share {params.share}: none or more, and a share of 0 to 1")
    base = bench.artifacts.folder(inputs["base"])
    conversations = read_conversations(bench.artifacts.get_bytes(inputs["train"]))
    tokenizer, added = tune.tokenizer_of(base)
    template = unbaked(added or read_template(base))

    def length(system: str, shots: list[Conversation], question: Conversation) -> int:
        tokenizer.chat_template = bake(template, system=system, shots=[as_dicts(shot) for shot in shots])
        text = tokenizer.apply_chat_template(as_dicts(question), tokenize=False, add_generation_prompt=True)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    bare = [length("", [], one[:-1]) for one in conversations if len(one) > 1]
    if not bare:
        raise DataError("no training conversation has a question before its answer; examples need one")
    context = tune.context(base, 1 << 30)
    probe = next(one for one in conversations if len(one) > 1)[:-1]
    plain = length("", [], probe)
    room = min(int(params.share * context), context - max(bare) - min(params.max_tokens, context // 4))
    shots, left_out = list[Conversation](), 0
    for shot in _candidates(conversations, params.examples):
        if length(params.system, [*shots, shot], probe) - plain <= room:
            shots.append(shot)
        else:
            left_out += 1
    tokens = length(params.system, shots, probe) - plain
    if not shots and not params.system:
        raise DataError(
            f"no example fits into the {max(room, 0)} tokens that the context of {context} leaves beside a question of "
            f"{max(bare)} tokens: take shorter examples, give a system prompt, or take a base with a longer context"
        )
    if tokens > max(room, 0):
        raise DataError(f"the system prompt takes {tokens} tokens and there is room for {max(room, 0)}: shorten it")
    plan = PromptPlan(
        system=params.system, shots=tuple(tuple(as_dicts(shot)) for shot in shots), tokens=tokens, room=room,
        left_out=left_out, why=f"{len(shots)} examples, {tokens} tokens more in every request, of {room} there are",
    )  # fmt: skip
    return {"plan": bench.artifacts.put_bytes(msgspec.json.encode(plan))}


def _train(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Return {"model": folder, "log": JSON}; the weights are byte for byte those of the base."""
    base = bench.artifacts.folder(inputs["base"])
    plan = msgspec.json.decode(bench.artifacts.get_bytes(inputs["plan"]), type=PromptPlan)
    folder = bench.scratch / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(base.iterdir()):
        if path.name in KEPT or path.suffix == ".safetensors":
            _share(path, folder / path.name)
    template = read_template(base) or tune.tokenizer_of(base)[1]
    replace_template(folder, bake(template, system=plan.system, shots=plan.shots))
    about = f"{params.base or 'A base model'} with {len(plan.shots)} examples in its chat template."
    _write_card(folder, params, about)
    log = {"examples": len(plan.shots), "left_out": plan.left_out, "tokens": plan.tokens, "room": plan.room}
    return {
        "model": bench.artifacts.put_folder(folder),
        "log": bench.artifacts.put_bytes(msgspec.json.encode(log)),
    }


def _candidates(conversations: list[Conversation], count: int) -> list[Conversation]:
    """Return the examples to try, system messages left out: the prompt has its own."""
    plain = [tuple(turn for turn in one if turn.role not in ("system", "developer")) for one in conversations]
    asked = [one for one in plain if len(one) > 1]
    places = spread(["\n".join(turn.content for turn in one[:-1]) for one in asked], count)
    return [asked[place] for place in places]


def _share(path: Path, target: Path) -> None:
    """Link a file where the file system allows it: it may be large, and nothing here writes into it."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _write_card(folder: Path, params: Params, about: str) -> None:
    path = folder / "tokenworks.json"
    card: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.is_file() else {"kind": params.kind}
    path.unlink(missing_ok=True)  # it may be a link
    described = {"base": params.base or card.get("base", ""), "description": params.description or about}
    write_card(folder, msgspec.json.decode(canonical_json({**card, **described})))


PLAN = Stage(name="train.prompt.plan", version=VERSION, run=_plan)
TRAIN = Stage(name="train.prompt", version=VERSION, run=_train)
