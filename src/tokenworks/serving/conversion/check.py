"""Check a conversion against transformers before it may be released: same tokens, same template, same greedy text."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tokenworks import parts
from tokenworks.serving.choose import ROOM, choose_engine
from tokenworks.serving.engine import Engine, Options, Sampling
from tokenworks.serving.folder import open_folder
from tokenworks.serving.template import ChatTemplate
from tokenworks.serving.tokens import Tokens

AGREEMENT_NEEDED = 30 / 32  # what research measured for a faithful conversion in bf16
ANSWER_TOKENS = 24
PROMPTS = (
    "The for statement is used to iterate over the elements of a sequence.",
    "def main(arguments: list[str]) -> int:\n    return 0",
    "  leading spaces,\ttabs\n\n\nand lines ",
    "Grüße aus Zürich, ¿qué tal? – “quoted”",
    "日本語のテキスト と 中文 和 한국어",
    "emoji 👩‍👩‍👧 flags 🇨🇭 and accents e\u0301",
    "1234567890 3.14159 0xdeadbeef 1e-9",
    '{"json": [1, 2.5, null, true], "nested": {"a": "b"}}',
)
CONVERSATIONS: tuple[list[dict[str, Any]], ...] = (
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": " spaces "},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Ü"},
    ],
)


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True):
    """What the check found. None: could not be compared here, `remarks` say why."""

    engine: str
    same_tokens: bool | None
    same_template: bool | None  # None too where the model has no template
    greedy_agreement: float | None  # share of prompts whose greedy text equals the float32 reference
    prompts: int
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether nothing that could be compared differs more than it may."""
        agrees = self.greedy_agreement is None or self.greedy_agreement >= AGREEMENT_NEEDED
        return self.same_tokens is not False and self.same_template is not False and agrees


def verify_roundtrip(folder: Path, options: Options, prompts: Sequence[str] = PROMPTS) -> RoundTrip:
    """Compare the engine that would serve `folder` with transformers; raise `EngineError` where it cannot be loaded.

    Must be called outside a running event loop. Without transformers and torch installed nothing can be compared,
    and the remarks say so.
    """
    engine = choose_engine(folder, "auto")
    remarks: list[str] = []
    same_tokens = same_template = agreement = None
    if importlib.util.find_spec("transformers") is None:
        remarks.append("transformers is not installed: tokens and template were not compared")
    else:
        same_tokens = _same_tokens(folder, prompts, remarks)
        same_template = _same_template(folder, remarks)
    if engine == "transformers" or importlib.util.find_spec("torch") is None:
        remarks.append("no second engine to compare greedy text with")
    else:
        agreement = asyncio.run(_agreement(folder, engine, options, prompts))
    return RoundTrip(
        engine=engine,
        same_tokens=same_tokens,
        same_template=same_template,
        greedy_agreement=agreement,
        prompts=len(prompts),
        remarks=tuple(remarks),
    )


def _reference(folder: Path) -> Any:
    from transformers import AutoTokenizer  # heavy: only the check loads it

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def _same_tokens(folder: Path, prompts: Sequence[str], remarks: list[str]) -> bool:
    ours, reference = Tokens(folder), _reference(folder)
    for prompt in prompts:
        if ours.encode(prompt) != list(reference(prompt)["input_ids"]):
            remarks.append(f"tokens differ for {prompt!r}")
        if ours.decode(ours.encode(prompt)) != reference.decode(ours.encode(prompt), skip_special_tokens=True):
            remarks.append(f"decoded text differs for {prompt!r}")
    return not remarks


def _same_template(folder: Path, remarks: list[str]) -> bool | None:
    model = open_folder(folder)
    if not model.chat_template:
        return None
    ours, reference = ChatTemplate(model.chat_template, model.tokenizer_config), _reference(folder)
    same = True
    for messages in CONVERSATIONS:
        wanted = reference.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if ours.render(messages) != wanted:
            same = False
            remarks.append(f"the chat template renders {messages!r} differently")
    return same


async def _agreement(folder: Path, name: str, options: Options, prompts: Sequence[str]) -> float:
    texts: list[list[str]] = []
    for part, chosen in ((name, options), ("transformers", msgspec.structs.replace(options, precision="f32"))):
        engine: Engine = parts.load(ROOM, part).load(folder, chosen)
        try:
            texts.append([await _greedy(engine, prompt) for prompt in prompts])
        finally:
            await engine.close()
    agreeing = [ours == theirs for ours, theirs in zip(*texts, strict=True)]
    return agreeing.count(True) / len(prompts)


async def _greedy(engine: Engine, prompt: str) -> str:
    sampling = Sampling(max_tokens=ANSWER_TOKENS, temperature=0.0)
    return "".join([piece.text async for piece in engine.generate(prompt, sampling)])
