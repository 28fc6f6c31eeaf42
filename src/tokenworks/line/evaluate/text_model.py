"""Judge a completion model: bits per byte of held-out documents from its folder, speed from asking it.

Bits per byte need every token's probability, which no completion API gives; so this one figure is computed from the
folder itself, by the reference library, on the same documents and bytes as the baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from tokenworks import parts
from tokenworks.core.corpus import read_parts
from tokenworks.core.errors import DataError
from tokenworks.core.request import Answerer, Request
from tokenworks.core.stage import Bench
from tokenworks.line.evaluate import judging
from tokenworks.line.evaluate.asking import ask_all, ask_one_by_one
from tokenworks.line.evaluate.baselines import bytes as byte_models
from tokenworks.line.evaluate.grade import ROOM, metric_named
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import COMPRESSOR, Evaluation, Item

PROMPT_CHARACTERS = 200
PROMPTS = 64
ANSWER_TOKENS = 64


def evaluate(answer: Answerer, inputs: Mapping[str, str], params: EvaluateParams, bench: Bench) -> Evaluation:
    """Return the report on a completion model; inputs {"model", "held_out", optional "train"}, all folders."""
    held_out = bench.artifacts.folder(inputs["held_out"])
    requests = _prompts(held_out, params)
    bits = parts.load(ROOM, "bits_per_byte").bits_per_byte(
        bench.artifacts.folder(inputs["model"]), held_out, threads=bench.threads, progress=bench.progress
    )
    items = _items(bits)
    asked = ask_all(answer, requests, concurrency=params.concurrency, progress=bench.progress, note="generation")
    alone = ask_one_by_one(answer, requests, budget_s=params.latency_budget_s, progress=bench.progress)
    spoken = [Item(id=str(number), score=0.0, error=reply.error) for number, reply in enumerate(asked.replies)]
    metric = metric_named(params.metric)
    return Evaluation(
        task=params.task, kind=params.kind, model_ref=params.model_ref, metric=params.metric,
        figures={params.metric: metric.figure(items), **judging.latencies(alone), **judging.rates(asked)},
        items=tuple(items), baselines=_baselines(inputs, held_out, params, bench), notes=judging.notes_of(spoken),
    )  # fmt: skip


def _prompts(held_out: Path, params: EvaluateParams) -> list[Request]:
    """Return requests to go on from the beginnings of held-out documents."""
    starts = [document.text[:PROMPT_CHARACTERS] for document in islice(read_parts(held_out), PROMPTS)]
    starts = [start for start in starts if start.strip()]
    if not starts:
        raise DataError("no document was held out: a completion model needs more documents to be judged on")
    length = min(params.max_tokens, ANSWER_TOKENS)
    body = {
        "model": params.model_ref,
        "max_tokens": length,
        "temperature": 0,
        "stream": True,
    }  # the first token is timed
    return [Request(endpoint="completions", body={**body, "prompt": start}) for start in starts]


def _baselines(
    inputs: Mapping[str, str], held_out: Path, params: EvaluateParams, bench: Bench
) -> dict[str, Evaluation]:
    if "train" not in inputs:
        return {}
    train = bench.artifacts.folder(inputs["train"])
    ngram = byte_models.ngram_score(train, held_out, progress=bench.progress)
    packed = _items(byte_models.zstd_bits(train, held_out, progress=bench.progress))
    name = f"ngram-{ngram.order}"
    return {
        "zstd-19": _report("zstd-19", packed, params, kind=COMPRESSOR),
        name: _report(name, _items(ngram.documents), params, kind=params.kind),
    }


def _report(name: str, items: Sequence[Item], params: EvaluateParams, *, kind: str) -> Evaluation:
    return Evaluation(
        task=params.task, kind=kind, model_ref=f"baseline:{name}", metric=params.metric,
        figures={params.metric: metric_named(params.metric).figure(items)}, items=tuple(items),
    )  # fmt: skip


def _items(bits: Sequence[tuple[str, float, int]]) -> list[Item]:
    """Return an item for each document that has bytes: its bits per byte, weighted by its bytes."""
    return [Item(id=path, score=amount / size, weight=float(size)) for path, amount, size in bits if size > 0]
