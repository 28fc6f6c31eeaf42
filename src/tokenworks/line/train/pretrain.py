"""Pretrain a causal model of the Llama architecture from a corpus, within a budget.

`PLAN` measures this machine and fixes sizes and steps; `TRAIN` follows the plan exactly. Knows the corpus and the plan,
not where they come from.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tokenworks.core.corpus import read_parts
from tokenworks.core.errors import DataError
from tokenworks.core.files import write_atomic
from tokenworks.core.ids import canonical_json
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.train._encoder_torch import prepare
from tokenworks.line.train.causal.allocator import kept_memory
from tokenworks.line.train.causal.budget import Budget, parse_budget

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

    from tokenworks.line.train.causal.llama import Shape
    from tokenworks.line.train.causal.loop import Trained
    from tokenworks.line.train.causal.plan import Measured, Plan

VERSION = "1"
METHOD = "Llama from scratch; Muon + AdamW, WSD schedule"
SAMPLE_CHARACTERS = 4 << 20  # of text for the plan's own tokenizer
TOKENIZER_CHARACTERS = 32 << 20  # of text at most for the model's tokenizer
HELD_OUT_CHARACTERS = 1 << 20  # of held-out text at most for early stopping
MEASURE_S = 3.0  # for each candidate size
FORETELL_S = 1.0  # where only the duration depends on it
RESERVE = 0.06  # of the time, for held-out checks, checkpoints and a machine that slows down
FINISH_S = 2.0  # to load libraries and write the folder


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted."""

    budget: str = "3m"  # "90s" | "3m" | "1h" | "2e15 flops" | "2M tokens"
    seed: int = 0
    context: int = 256  # tokens
    description: str = ""  # a sentence more for `tokenworks.json`


def _plan(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    prepare(bench.threads)
    started = time.monotonic()
    budget = parse_budget(params.budget)
    folder = bench.artifacts.folder(inputs["train"])
    with kept_memory():
        plan = _make_plan(folder, params, budget, bench, started)
    return {"plan": bench.artifacts.put_bytes(canonical_json(plan))}


def _make_plan(folder: Path, params: Params, budget: Budget, bench: Bench, started: float) -> Plan:
    import torch

    from tokenworks.line.train.causal import plan as planning

    text = _survey(folder, params.seed)
    dtype = planning.faster_type()
    shapes = list(planning.ladder(text.vocabulary, params.context))
    spent = time.monotonic() - started
    # The share to read is not known yet: at most what a fast machine could use, at least what is there.
    reading_s = min(text.corpus_bytes / text.bytes_per_s, 0.15 * budget.amount)
    training_s = max(1.0, (budget.amount - spent - reading_s - FINISH_S - 3 * MEASURE_S) * (1 - RESERVE))

    measure_s = MEASURE_S if budget.kind == "seconds" else FORETELL_S

    def speed(shape: Shape) -> float:
        bench.progress(0, None, unit="", note=f"measuring {shape.parameters / 1e6:.1f} M parameters")
        return planning.tokens_per_s(
            shape, planning.BATCH_TOKENS // shape.context or 1, getattr(torch, dtype), seconds=measure_s
        )

    shape, measured = planning.choose(shapes, budget, text.unique_tokens, seconds=training_s, speed=speed)
    taken = next(one for one in measured if one.width == shape.width)
    return _write_plan(params, text, shape, taken, measured, dtype, reading_s, bench.threads)


class _Survey(msgspec.Struct, frozen=True):
    """What there is to learn from."""

    corpus_bytes: int
    unique_tokens: int
    vocabulary: int
    bytes_per_token: float
    bytes_per_s: float  # read and tokenized


def _survey(folder: Path, seed: int) -> _Survey:
    from tokenworks.line.train.causal.tokenizer import encode, train_tokenizer, vocabulary_size

    size, count, sample, sampled = 0, 0, list[str](), 0
    for document in read_parts(folder):
        size += len(document.text.encode("utf-8", "replace"))
        count += 1
        if sampled < SAMPLE_CHARACTERS and document.text:
            sample.append(document.text)
            sampled += len(document.text)
    if size == 0:
        raise DataError(f"{folder}: no text to pretrain on; all {count} documents are empty or were held out")
    begun = time.monotonic()
    tokenizer = train_tokenizer(sample, vocabulary_size(size))
    tokens = sum(len(ids) for ids in encode(tokenizer, sample))
    sample_bytes = sum(len(text.encode("utf-8", "replace")) for text in sample)
    rate = sample_bytes / max(time.monotonic() - begun, 1e-3)
    each = sample_bytes / max(1, tokens)
    return _Survey(size, int(size / each) + count, tokenizer.get_vocab_size(), each, rate)


def _write_plan(
    params: Params,
    text: _Survey,
    shape: Shape,
    taken: Measured,
    measured: list[Measured],
    dtype: Any,
    reading_s: float,
    threads: int,
) -> Plan:
    from tokenworks.line.train.causal.plan import Plan, windows_per_step

    batch = windows_per_step(taken.tokens, shape.context)
    steps = max(1, taken.tokens // (batch * shape.context))
    assert taken.tokens_per_s is not None
    tokens = steps * batch * shape.context
    share = min(1.0, 1.25 * tokens / text.unique_tokens)
    unique = max(1, int(text.unique_tokens * share))
    return Plan(
        method=METHOD,
        why=_why(taken, measured, text),
        steps=steps,
        tokens=tokens,
        parameters=shape.parameters,
        expected_s=round(tokens / taken.tokens_per_s / (1 - RESERVE) + reading_s * share + FINISH_S, 1),
        budget=params.budget,
        seed=params.seed,
        shape=shape,
        batch=batch,
        dtype=dtype,
        threads=threads,
        vocabulary=shape.vocabulary,
        corpus_bytes=text.corpus_bytes,
        share=share,
        unique_tokens=unique,
        epochs=round(tokens / unique, 3),
        measured=measured,
    )


def _why(taken: Measured, measured: list[Measured], text: _Survey) -> str:
    others = "; ".join(f"{one.parameters / 1e6:.1f} M{_pace(one)} -> {one.expected_loss:.3f}" for one in measured)
    if len(measured) == 1:
        return (
            f"{taken.parameters / 1e6:.1f} M parameters are what {taken.tokens:,} tokens are enough for by the "
            f"compute-optimal law (own constants){_pace(taken)}; {text.unique_tokens:,} unique tokens"
        )
    return (
        f"{taken.parameters / 1e6:.1f} M parameters have the lowest loss expected by the data-constrained law "
        f"(Muennighoff 2023, own constants) of those looked at: {others} nats/token; "
        f"{text.unique_tokens:,} unique tokens"
    )


def _pace(one: Measured) -> str:
    return "" if one.tokens_per_s is None else f" at {one.tokens_per_s:,.0f} tokens/s"


def _train(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    prepare(bench.threads)
    from tokenworks.line.train.causal.loop import train  # torch is heavy: only where a model is made
    from tokenworks.line.train.causal.plan import Plan

    plan = msgspec.json.decode(bench.artifacts.get_bytes(inputs["plan"]), type=Plan)
    with kept_memory():
        tokenizer, tokens, held_out = _tokens(inputs, plan, bench)
        made = train(plan, tokens, held_out, bench.scratch / "checkpoints", report=bench.progress)
    folder = bench.scratch / "model"
    _write_model(folder, plan, made, tokenizer, params, int((held_out != 0).sum()))
    return {"model": bench.artifacts.put_folder(folder), "log": bench.artifacts.put_bytes(_log(plan, made))}


def _tokens(inputs: Mapping[str, str], plan: Plan, bench: Bench) -> tuple[Tokenizer, np.ndarray, np.ndarray]:
    """Return the tokenizer and the two streams; computed once and kept across a kill."""
    import numpy as np
    from tokenizers import Tokenizer

    from tokenworks.line.train.causal.packing import chosen_texts, stream
    from tokenworks.line.train.causal.tokenizer import train_tokenizer

    kept = bench.scratch / "tokens.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as found:
            return Tokenizer.from_str(bytes(found["tokenizer"]).decode()), found["train"], found["held_out"]
    train, held_out = (bench.artifacts.folder(inputs[name]) for name in ("train", "held_out"))
    bench.progress(0, None, unit="", note="training the tokenizer")
    texts = chosen_texts(train, share=plan.share, seed=plan.seed)
    tokenizer = train_tokenizer(_up_to(texts, TOKENIZER_CHARACTERS), plan.vocabulary)
    seen = stream(tokenizer, chosen_texts(train, share=plan.share, seed=plan.seed), report=bench.progress)
    asked = chosen_texts(held_out, share=1.0, seed=plan.seed)
    checked = stream(tokenizer, _up_to(asked, HELD_OUT_CHARACTERS), report=bench.progress)
    data = io.BytesIO()
    written = np.frombuffer(tokenizer.to_str().encode(), np.uint8)
    np.savez(data, tokenizer=written, train=seen, held_out=checked)
    write_atomic(kept, data.getvalue())
    return tokenizer, seen, checked


def _up_to(texts: Any, characters: int) -> Any:
    size = 0
    for text in texts:
        if size >= characters:
            return
        size += len(text)
        yield text


def _write_model(folder: Path, plan: Plan, made: Trained, tokenizer: Tokenizer, params: Params, checked: int) -> None:
    from tokenworks.line.train.causal.folder import write_folder

    now = made.progressed
    learnt = f"{plan.parameters / 1e6:.1f} M parameters, pretrained from scratch on {plan.tokens / 1e6:.2f} M tokens"
    described = (
        f"A small completion model ({learnt} of this corpus): it continues text of the kind it has seen, "
        "knows no instructions and no facts beyond it, and must not be taken for a general assistant."
    )
    about = {
        "kind": "complete",
        "base": "from-scratch",
        "description": f"{described} {params.description}".strip(),
        "parameters": plan.parameters,
        "tokens": now.step * plan.batch * plan.shape.context,
        "context": plan.shape.context,
        "best_step": now.best_step or now.step,
        "seed": plan.seed,
    }
    write_folder(folder, plan.shape, made.weights, tokenizer, about)


def _log(plan: Plan, made: Trained) -> bytes:
    now = made.progressed
    tokens = now.step * plan.batch * plan.shape.context
    every = max(1, len(now.losses) // 200)
    return canonical_json(
        {
            "steps": now.step,
            "tokens": tokens,
            "tokens_per_s": round(tokens / max(now.seconds, 1e-9), 1),
            "seconds": round(now.seconds, 2),
            "losses": list(islice(now.losses, 0, None, every)),
            "held_out": now.held_out,
            "best_step": now.best_step,
            "stopped_early": made.stopped_early,
            "parameters": plan.parameters,
            "resumed_from": made.resumed_from,
            "notes": made.notes,
        }
    )


PLAN = Stage("train.pretrain.plan", VERSION, _plan)
TRAIN = Stage("train.pretrain", VERSION, _train)
