"""Time two models in turns, question by question: what else the machine does then falls on both alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from tokenworks.core.errors import DataError
from tokenworks.core.request import Answerer
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.evaluate.asking import ask_in_turns, asker
from tokenworks.line.evaluate.gold import read_gold
from tokenworks.line.evaluate.questions import question
from tokenworks.line.evaluate.ranking import query_requests


class TimingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which two models are timed, by what is asked for in the request."""

    task: str
    kind: str
    candidate: str
    incumbent: str
    max_tokens: int = 256
    schema: dict[str, Any] | None = None
    sample: int = 64  # questions
    budget_s: float = 30.0  # the sample ends here even where it is smaller
    seed: int = 0


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of answers to the same questions, asked one at a time and in turns."""

    candidate: tuple[float, ...]
    incumbent: tuple[float, ...]

    @property
    def p95(self) -> float:
        """The candidate's p95 over the incumbent's."""
        return float(np.quantile(self.candidate, 0.95) / np.quantile(self.incumbent, 0.95))

    @property
    def total(self) -> float:
        """The candidate's time for all answers over the incumbent's."""
        return sum(self.candidate) / sum(self.incumbent)


def timing_stage(answer: Answerer, *, loop: asyncio.AbstractEventLoop | None = None) -> Stage:
    """Return the stage {"model", "other", "gold"} -> {"timed": JSON blob of `Timed`}.

    A question that one of them does not answer is left out.
    """
    asks = asker(answer, loop)

    def run(inputs: Mapping[str, str], params: TimingParams, bench: Bench) -> Outputs:
        gold = read_gold(bench.artifacts.get_bytes(inputs["gold"]), params.kind)
        picks = np.random.default_rng(params.seed).permutation(len(gold))[: params.sample]
        chosen = [gold[number] for number in picks]
        sides = [
            query_requests(chosen, model)
            if params.kind == "embed"
            else [
                question(want, kind=params.kind, model=model, max_tokens=params.max_tokens, schema=params.schema)
                for want in chosen
            ]
            for model in (params.candidate, params.incumbent)
        ]
        replies = ask_in_turns(asks, *sides, budget_s=params.budget_s, progress=bench.progress)
        pairs = [(a.latency_s, b.latency_s) for a, b in replies if not a.error and not b.error]
        if not pairs:
            raise DataError(f"task {params.task}: {params.candidate} and {params.incumbent} answered no question alike")
        timed = Timed(candidate=tuple(a for a, _ in pairs), incumbent=tuple(b for _, b in pairs))
        return {"timed": bench.artifacts.put_bytes(msgspec.json.encode(timed))}

    return Stage(name="timing", version="1", run=run)
