"""Measure the embedded engine on this machine for a minute, and hold its predictions against a piece of a trace."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np

from tokenworks.core.errors import ConfigError
from tokenworks.factory.planning.asking import Answered, Question, Server, at_a_time, on_time
from tokenworks.planning.configs import read_config
from tokenworks.planning.fitting import Decoded, Fitted, Read, fit
from tokenworks.planning.simulate import Outcome, Scheduler, simulate
from tokenworks.planning.sizing import Served
from tokenworks.planning.trace import Trace
from tokenworks.serving.child import host_command, spawn
from tokenworks.serving.choose import choose_engine
from tokenworks.serving.engine import Options
from tokenworks.serving.folder import open_folder

COUNTS = (1, 2, 4, 8, 16, 32)  # sequences at a time
SHORT, ANSWER = 16, 96  # tokens
ROUNDS = 3
STEP_TOKENS = 256  # of the embedded engine: serving/engines/openvino.py
ERROR = 0.15  # that its predictions are held to: docs/planner.md
LOAD = 0.6  # of what the engine can do, at which a piece of the trace is played


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    folder: str
    fitted: Fitted
    context_length: int
    most: int

    @property
    def scheduler(self) -> Scheduler:
        """Return how the embedded engine fills its steps."""
        return Scheduler(sequences=self.most, step_tokens=STEP_TOKENS)

    @property
    def served(self) -> Served:
        """Return what the planner needs of it. Requests longer than its context are none of its work."""
        scheduler = msgspec.structs.replace(self.scheduler, cache_tokens=float(self.most * self.context_length))
        return Served(cost=self.fitted.cost, scheduler=scheduler, how="a minute of measuring this machine", error=ERROR)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted for a piece of a trace before it was played, and what came."""

    requests: int
    seconds: float
    figures: dict[str, tuple[float, float]]  # name -> predicted and measured

    @property
    def errors(self) -> dict[str, float]:
        """Return how far each prediction is off, as a share."""
        return {name: abs(predicted / measured - 1) for name, (predicted, measured) in self.figures.items()}


def measure(folder: Path, *, threads: int = 0, most: int = 32, rounds: int = ROUNDS) -> Here:
    """Measure the engine that serves `folder` here, in a process of its own. Takes about a minute."""
    return asyncio.run(_measure(folder, threads, most, rounds))


def check(here: Here, trace: Trace, *, seconds: float, threads: int = 0, seed: int = 0) -> Check:
    """Predict and then play `seconds` of `trace`, scaled to this machine: at full speed, and at 60 % of it on time."""
    full, paced = scaled(here, trace, seconds)
    return asyncio.run(_check(here, full, paced, threads, seed))


def scaled(here: Here, trace: Trace, seconds: float) -> tuple[Trace, Trace]:
    """Return `trace` with lengths that fit this engine, once all at once and once at a pace it keeps.

    Both are as long as fills half of `seconds`, by what the cost predicts.
    """
    room = here.context_length - 1
    factor = min(1.0, room / float(np.quantile(trace.prompt + trace.answer, 0.99)))
    short = trace.shorter(factor, prompt_most=room - room // 4, answer_most=room // 4)
    each = simulate(_at_once(short.first(200)), here.fitted.cost, here.scheduler).end_s / min(len(short), 200)
    paced = short.first(max(int(seconds / 2 / each * LOAD), 10))
    pace = paced.span_s / (len(paced) * each / LOAD)
    return _at_once(short.first(max(int(seconds / 2 / each), 10))), paced.faster(pace)


async def _measure(folder: Path, threads: int, most: int, rounds: int) -> Here:
    model = open_folder(folder)
    read_config(folder)  # a model whose shape is not understood is not planned with
    room = model.context_length
    async with embedded(folder, threads=threads, most=most) as server:
        words = _Words(folder, seed=1)
        await at_a_time(server, words.questions([SHORT] * 4, [16] * 4), 2)  # warm
        decoded: list[Decoded] = []
        for _ in range(rounds):
            for count in (one for one in COUNTS if one <= most):
                decoded.append(await _decoded(server, words, count, SHORT, min(ANSWER, room - SHORT - 1)))
            decoded.append(await _decoded(server, words, 4, room // 2, min(ANSWER, room // 4)))
        read = []
        for length in [length for length in (16, 64, 128, 256, 512, 1024) if length < room]:
            found = [
                one for _ in range(rounds) for one in await at_a_time(server, words.questions([length] * 2, [2] * 2), 1)
            ]
            middle = float(np.median([one.ttft_s for one in found]))
            read.append(Read(tokens=found[0].prompt_tokens, ttft_s=middle))
    middles = _medians(decoded)
    return Here(
        folder=str(folder),
        fitted=fit(middles, read, most),
        context_length=room,
        most=most,
    )


async def _decoded(server: Server, words: _Words, count: int, prompt: int, answer: int) -> Decoded:
    """Return what the tokens between a short and a long answer took: no client's look at a first token is in it."""
    short = max(answer // 8, 1)
    took = [
        _end(await at_a_time(server, words.questions([prompt] * count, [length] * count), count))
        for length in (short, answer)
    ]
    step = max(took[1] - took[0], 1e-6) / (answer - short)
    return Decoded(running=count, context=prompt + (short + answer) / 2, step_s=step)


def _medians(decoded: Sequence[Decoded]) -> list[Decoded]:
    kinds = sorted({(one.running, one.context) for one in decoded})
    return [
        Decoded(
            running=running,
            context=context,
            step_s=float(np.median([d.step_s for d in decoded if (d.running, d.context) == (running, context)])),
        )
        for running, context in kinds
    ]


async def _check(here: Here, full: Trace, paced: Trace, threads: int, seed: int) -> Check:
    cost, scheduler = here.fitted.cost, here.scheduler
    words = _Words(Path(here.folder), seed=seed + 2)
    async with embedded(Path(here.folder), threads=threads, most=here.most) as server:
        await at_a_time(server, words.questions([SHORT] * 4, [16] * 4), 2)
        at_once = await at_a_time(server, words.trace(full), here.most)
        on_pace = await on_time(server, words.trace(paced))
    fast, calm = simulate(full, cost, scheduler), simulate(paced, cost, scheduler)
    return Check(
        requests=len(full) + len(paced),
        seconds=_end(at_once) + _end(on_pace),
        figures={
            "tokens_per_s at full speed": (fast.tokens_per_s, sum(a.answer_tokens for a in at_once) / _end(at_once)),
            "tokens_per_s on time": (calm.tokens_per_s, sum(a.answer_tokens for a in on_pace) / _end(on_pace)),
            **_percentiles(calm, on_pace),
        },
    )


def _percentiles(calm: Outcome, real: Sequence[Answered]) -> dict[str, tuple[float, float]]:
    several = [one for one in real if one.answer_tokens > 1]
    measured = {
        "ttft_s": [one.ttft_s for one in real],
        "tpot_s": [one.tpot_s for one in several],
        "latency_s": [one.latency_s for one in real],
    }
    return {
        f"p{share} {name}": (calm.percentile(name, share / 100), float(np.quantile(values, share / 100)))
        for name, values in measured.items()
        for share in (50, 95)
    }


def _end(found: Sequence[Answered]) -> float:
    return max(one.asked_s + one.latency_s for one in found) - min(one.asked_s for one in found)


def _at_once(trace: Trace) -> Trace:
    return Trace(np.zeros(len(trace)), trace.prompt, trace.answer)


class _Words:
    """Prompts of chosen lengths in tokens, from other places of a text each: no cache of prefixes helps."""

    def __init__(self, folder: Path, seed: int) -> None:
        from pydoc_data.topics import topics  # a long text that every Python has

        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._ids = self._tokenizer.encode("\n".join(topics.values()), add_special_tokens=False).ids
        self._random = random.Random(seed)

    def questions(self, prompts: Sequence[int], answers: Sequence[int]) -> list[Question]:
        """Return a question for each pair of lengths, all due at once."""
        return self.trace(Trace(np.zeros(len(prompts)), np.array(prompts), np.array(answers)))

    def trace(self, trace: Trace) -> list[Question]:
        """Return the questions of `trace`."""
        rows = zip(trace.arrival_s.tolist(), trace.prompt.tolist(), trace.answer.tolist(), strict=True)
        return [Question(at_s=at, prompt=self._text(prompt), answer_tokens=answer) for at, prompt, answer in rows]

    def _text(self, tokens: int) -> str:
        begin = self._random.randrange(max(len(self._ids) - tokens, 1))
        return str(self._tokenizer.decode(self._ids[begin : begin + tokens]))


@asynccontextmanager
async def embedded(folder: Path, *, threads: int, most: int) -> AsyncIterator[Server]:
    """Give an engine of this machine that serves `folder`, in a process of its own, and end it afterwards."""
    engine = choose_engine(folder)
    if engine == "encoder":
        raise ConfigError(f"{folder} is an encoder; --calibrate measures a model that generates")
    options = Options(threads=threads or len(os.sched_getaffinity(0)), max_batch=most)
    child = await spawn(host_command(engine, folder, "measured", options), start_timeout_s=180.0)
    try:
        yield Server(url=f"http://127.0.0.1:{child.ready.port}", model="measured")
    finally:
        await child.stop(5.0)
