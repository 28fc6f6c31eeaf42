"""The evaluate stage: one model on one gold set, asked through `answer` like by anybody, judged beside its baselines.

Never knows how a model is served: tokens come through the callable that is passed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from tokenworks.core.request import Answerer, Request
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.core.vector_file import embedded
from tokenworks.line.evaluate import judging, ranking, text_model
from tokenworks.line.evaluate.asking import Asked, Reply, ask_all, ask_one_by_one, asker
from tokenworks.line.evaluate.beating import baselines
from tokenworks.line.evaluate.gold import Gold, read_gold, without_leaks
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.questions import question
from tokenworks.line.evaluate.report import Evaluation

VERSION = "5"
CLASSIFIED, GENERATED = 10_000, 1_000  # items asked of a larger gold set: milliseconds each, and seconds each


def evaluate_stage(answer: Answerer, *, loop: asyncio.AbstractEventLoop | None = None) -> Stage:
    """Return the stage {"model", "gold", optional "train"} -> {"evaluation": JSON blob of `Evaluation`}.

    Kind embed wants "documents" in addition, kind complete "held_out" in place of "gold". The stage runs in a thread
    without an event loop; with `loop` the calls of `answer` are made there, for answerers that belong to it.
    """
    asks = asker(answer, loop)

    def run(inputs: Mapping[str, str], params: EvaluateParams, bench: Bench) -> Outputs:
        judged = {"embed": _embed, "complete": text_model.evaluate}.get(params.kind, _answers)
        report = judged(asks, inputs, params, bench)
        return {"evaluation": bench.artifacts.put_bytes(report.to_json())}

    return Stage(name="evaluate", version=VERSION, run=run)


def _answers(answer: Answerer, inputs: Mapping[str, str], params: EvaluateParams, bench: Bench) -> Evaluation:
    """Evaluate a model that answers with a class or a text."""
    gold, leaks = read_gold(bench.artifacts.get_bytes(inputs["gold"]), params.kind), tuple[str, ...]()
    if "train" in inputs:
        train = read_gold(bench.artifacts.get_bytes(inputs["train"]), params.kind, name="train")
        gold, leaks = without_leaks(gold, train)
    gold, notes = _sample(gold, params)
    model, schema = params.model_ref, params.schema
    requests = [
        question(want, kind=params.kind, model=model, max_tokens=params.max_tokens, schema=schema) for want in gold
    ]
    asked, alone = _ask(answer, requests, params, bench)
    items = judging.judge(gold, asked.replies, kind=params.kind, metric=params.metric)
    failed = judging.notes_of(items)
    others = {}
    if "train" in inputs:
        bench.progress(0, None, note="baselines")
        others = baselines(bench.artifacts.get_bytes(inputs["train"]), gold, params)
    figures = judging.figures_of(items, kind=params.kind, metric=params.metric)
    return Evaluation(
        task=params.task, kind=params.kind, model_ref=params.model_ref, metric=params.metric,
        figures={**figures, **judging.latencies(alone), **judging.rates(asked)},
        per_class=judging.per_class(items), items=tuple(items), baselines=others, notes=(*leaks, *notes, *failed),
    )  # fmt: skip


def _embed(answer: Answerer, inputs: Mapping[str, str], params: EvaluateParams, bench: Bench) -> Evaluation:
    """Evaluate a model that gives vectors, by what they find."""
    gold, notes = _sample(read_gold(bench.artifacts.get_bytes(inputs["gold"]), "embed"), params)
    shelf = ranking.read_shelf(bench, inputs["documents"], gold)

    def embed(texts: list[str]) -> ranking.Vectors:
        return ranking.document_vectors(
            texts, params.model_ref, answer, concurrency=params.concurrency, progress=bench.progress
        )

    # Gold, fresh and general items ask for the same documents, and so does the next turn of the incumbent.
    vectors = embedded(shelf.texts, embed, bench.cache / f"vectors-{inputs['model'][:16]}.safetensors")
    asked, alone = _ask(answer, ranking.query_requests(gold, params.model_ref), params, bench)
    items = ranking.judge_ranks(gold, asked, vectors, shelf.owners, params)
    failed = judging.notes_of(items)
    return Evaluation(
        task=params.task, kind=params.kind, model_ref=params.model_ref, metric=params.metric,
        figures={
            **judging.figures_of(items, kind=params.kind, metric=params.metric),
            **judging.latencies(alone),
            **judging.rates(asked),
        },
        items=tuple(items), baselines=ranking.rank_baselines(gold, shelf.owners, shelf.texts, params),
        notes=(*notes, *shelf.notes, *failed),
    )  # fmt: skip


def _ask(
    answer: Answerer, requests: Sequence[Request], params: EvaluateParams, bench: Bench
) -> tuple[Asked, list[Reply]]:
    """Ask everything under load; then a sample one at a time, for latencies that no queue is part of."""
    asked = ask_all(answer, requests, concurrency=params.concurrency, progress=bench.progress, note="gold")
    picks = np.random.default_rng(params.seed).permutation(len(requests))[: params.latency_sample]
    sample = [requests[number] for number in picks]
    return asked, ask_one_by_one(answer, sample, budget_s=params.latency_budget_s, progress=bench.progress)


def _sample(gold: list[Gold], params: EvaluateParams) -> tuple[list[Gold], tuple[str, ...]]:
    """Return at most `max_items` of `gold`: those whose ids (hashes) come first, the same for every model."""
    most = params.max_items or (GENERATED if params.kind in ("chat", "extract") else CLASSIFIED)
    if len(gold) <= most:
        return gold, ()
    chosen = {want.id for want in sorted(gold, key=lambda want: want.id)[:most]}
    note = f"{most} of {len(gold)} gold items were asked, chosen by the hash of their content"
    return [want for want in gold if want.id in chosen], (note,)
