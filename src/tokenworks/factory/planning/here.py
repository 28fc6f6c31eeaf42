"""Measure the embedded engine on this machine for a minute, and hold its predictions against a piece of a trace."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from tokenworks.core.errors import ConfigError
from tokenworks.factory.planning.asking import Answered, Server, at_a_time, on_time
from tokenworks.factory.planning.probing import SHORT, Probes, took
from tokenworks.factory.planning.words import Words
from tokenworks.planning.batching import Scheduler
from tokenworks.planning.configs import read_config
from tokenworks.planning.fitting import Fitted
from tokenworks.planning.simulate import Outcome, simulate, simulate_callers
from tokenworks.planning.sizing import Served
from tokenworks.planning.trace import Trace
from tokenworks.serving.child import host_command, spawn
from tokenworks.serving.choose import choose_engine
from tokenworks.serving.engine import Options
from tokenworks.serving.folder import ModelFolder, open_folder

ROUNDS = 6
STEP_TOKENS = 256  # of the embedded engine: serving/engines/openvino.py
ERROR = 0.15  # that its predictions are held to: docs/planner.md
LOAD = 0.6  # of what the engine can do, at which a piece of the trace is played


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    folder: str
    fitted: Fitted
    context_length: int
    most: int  # sequences at a time that were measured; more are taken to cost as much more each as the last of these
    cache_tokens: float = math.inf

    @property
    def scheduler(self) -> Scheduler:
        """Return how the embedded engine fills its steps: its tokens and its cache bound them, not a number of seats.

        That the library seats more than `max_num_seqs` where prompts are read in chunks is measured (decision 0396).
        """
        return Scheduler(
            sequences=STEP_TOKENS,
            step_tokens=STEP_TOKENS,
            cache_tokens=self.cache_tokens,
            keeps="grown",
            rounds=self.fitted.rounds,
        )

    @property
    def served(self) -> Served:
        """Return what the planner needs of it."""
        how = "a minute of measuring this machine"
        return Served(cost=self.fitted.cost, scheduler=self.scheduler, how=how, error=ERROR)


@dataclass(frozen=True)
class Played:
    """A piece of a trace, and what came: as fast as `most` callers ask it, and at a pace that the engine keeps."""

    full: Trace
    paced: Trace
    at_once: Sequence[Answered]
    on_pace: Sequence[Answered]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What is predicted for a piece of a trace, from nothing of it but when it asks for how much, and what came."""

    requests: int
    seconds: float
    figures: dict[str, tuple[float, float]]  # name -> predicted and measured

    @property
    def errors(self) -> dict[str, float]:
        """Return how far each prediction is off, as a share; of a figure that was nothing there is none."""
        return {name: abs(predicted / measured - 1) for name, (predicted, measured) in self.figures.items() if measured}


def measure(folder: Path, *, threads: int = 0, most: int = 32, rounds: int = ROUNDS) -> Here:
    """Measure the engine that serves `folder` here, in a process of its own. Takes about a minute."""
    return asyncio.run(_measure(folder, threads, most, rounds))


def check(here: Here, trace: Trace, *, seconds: float, threads: int = 0, seed: int = 0) -> Check:
    """Play `seconds` of `trace`, scaled to this machine, and hold what `here` predicts against what comes."""
    return compare(here, play(here, trace, seconds=seconds, threads=threads, seed=seed))


def play(here: Here, trace: Trace, *, seconds: float, threads: int = 0, seed: int = 0) -> Played:
    """Play `seconds` of `trace`, scaled to this machine: at full speed, and at 60 % of it on time."""
    return asyncio.run(_play(here, *scaled(here, trace, seconds), threads, seed))


def compare(here: Here, played: Played) -> Check:
    """Return what `here` predicts for what was played beside what came."""
    cost, scheduler = here.fitted.cost, here.scheduler
    fast, calm = simulate_callers(played.full, cost, scheduler, here.most), simulate(played.paced, cost, scheduler)
    return Check(
        requests=len(played.full) + len(played.paced),
        seconds=took(played.at_once) + took(played.on_pace),
        figures={
            "tokens_per_s at full speed": (fast.tokens_per_s, _tokens_per_s(played.at_once)),
            "tokens_per_s on time": (calm.tokens_per_s, _tokens_per_s(played.on_pace)),
            **_percentiles(calm, played.on_pace),
        },
    )


def scaled(here: Here, trace: Trace, seconds: float) -> tuple[Trace, Trace]:
    """Return `trace` with lengths that fit this engine, once all at once and once at a pace it keeps.

    Both are as long as fills half of `seconds`, by what the cost predicts.
    """
    room = here.context_length - 1
    factor = min(1.0, room / float(np.quantile(trace.prompt + trace.answer, 0.99)))
    short = trace.shorter(factor, prompt_most=room - room // 4, answer_most=room // 4)
    first = short.first(200)
    each = simulate_callers(first, here.fitted.cost, here.scheduler, here.most).end_s / len(first)
    paced = short.first(max(int(seconds / 2 / each * LOAD), 10))
    pace = paced.span_s / (len(paced) * each / LOAD)
    return _at_once(short.first(max(int(seconds / 2 / each), 10))), paced.faster(pace)


async def _measure(folder: Path, threads: int, most: int, rounds: int) -> Here:
    model = open_folder(folder)
    read_config(folder)  # a model whose shape is not understood is not planned with
    async with embedded(folder, threads=threads, most=most) as server:
        words = Words(folder, seed=1)
        await _warm(server, words)
        probes = Probes(server, words, model.context_length, most, STEP_TOKENS)
        for _ in range(rounds):
            await probes.round()
    return Here(
        folder=str(folder),
        fitted=probes.fitted(),
        context_length=model.context_length,
        most=most,
        cache_tokens=_cache_tokens(model, most),
    )


def _cache_tokens(model: ModelFolder, most: int) -> float:
    """Return how many tokens the embedded engine has room for; what other engines have is not known."""
    if choose_engine(model.path) != "openvino":
        return math.inf
    from tokenworks.serving.engines._openvino_library import BLOCK_TOKENS, choose_precision, kv_blocks  # heavy

    return float(kv_blocks(model, most, 4 if choose_precision("auto") == "f32" else 2) * BLOCK_TOKENS)


async def _warm(server: Server, words: Words) -> None:
    await at_a_time(server, words.questions([SHORT] * 4, [16] * 4), 2)


async def _play(here: Here, full: Trace, paced: Trace, threads: int, seed: int) -> Played:
    words = Words(Path(here.folder), seed=seed + 2)
    async with embedded(Path(here.folder), threads=threads, most=here.most) as server:
        await _warm(server, words)
        at_once = await at_a_time(server, words.trace(full), here.most)
        return Played(full, paced, at_once, await on_time(server, words.trace(paced)))


def _tokens_per_s(found: Sequence[Answered]) -> float:
    return sum(one.answer_tokens for one in found) / took(found)


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


def _at_once(trace: Trace) -> Trace:
    return Trace(np.zeros(len(trace)), trace.prompt, trace.answer)


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
