"""Try a claim: ask a server, or an engine of this machine, in rounds until it is known well enough, and judge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

import msgspec
import numpy as np
import structlog

from tokenworks.core.clock import iso
from tokenworks.core.errors import ConfigError, DataError, EngineError
from tokenworks.factory.planning.asking import Answered, NotReadyError, Question, Server, at_a_time
from tokenworks.factory.planning.here import embedded
from tokenworks.factory.planning.joules import JOULES, above_idle, joules_known
from tokenworks.factory.planning.watching import Round, Watch, open_watch, why_not
from tokenworks.planning.claims.claim import Claim, Run
from tokenworks.planning.claims.explain import explain
from tokenworks.planning.claims.judge import enough, judge
from tokenworks.planning.claims.letter import Report, made_of
from tokenworks.planning.tables import Tables
from tokenworks.settings import Settings

STARTING_S = 120.0  # a server may take to answer for the first time
POOL, FITTINGS = 12, 3  # texts, and how often they are brought to length
WORDS_PER_TOKEN = 0.75  # of English, before the server has said how it counts
log = structlog.get_logger()
Texts = Callable[[int], list[str]]


def try_claim(claim: Claim, tables: Tables, settings: Settings) -> Report:
    """Return the report on `claim`. Raises `EngineError` where nobody answers.

    Joules are those of the meter in `settings`, where it sees who answers, else what the answers tell.
    """
    return asyncio.run(_try(claim, tables, settings))


async def _try(claim: Claim, tables: Tables, settings: Settings) -> Report:
    began = time.monotonic()
    blind = why_not(claim.run, settings) if JOULES in claim.claim.claimed else "no claim is made about joules"
    watching: AbstractAsyncContextManager[Watch | None] = nullcontext() if blind else open_watch(settings)
    async with watching as watch, _server(claim) as server:
        await _awake(server)
        texts = await _texts(claim, server)
        rounds: dict[str, list[float]] = {}
        every: list[Answered] = []
        await _round(claim, server, texts)  # warm: connections, caches, clocks
        looks = [await watch.idle(claim.rule.idle_s)] if watch is not None else []
        while not enough(rounds, claim) and time.monotonic() - began < claim.rule.most_s:
            found = await _watched(watch, _round(claim, server, texts))
            every += found
            for name, value in figures(found, claim.run).items():
                rounds.setdefault(name, []).append(value)
            if watch is not None:
                rounds[JOULES] = above_idle(watch, looks)
            log.info(
                "round of a claim", number=len(rounds["tokens_per_s"]), tokens_per_s=round(rounds["tokens_per_s"][-1])
            )
        looks += [await watch.idle(claim.rule.idle_s)] if watch is not None else []
    lengths = (float(np.mean([a.prompt_tokens for a in every])), float(np.mean([a.answer_tokens for a in every])))
    claim, lacking = as_seen(claim, lengths), missing(claim)
    lacking[JOULES], known = joules_known(watch, blind, looks, rounds, every)
    judged = judge(rounds, claim, lacking, {JOULES: known})
    besides = [known.besides] if JOULES in claim.claim.claimed and known.besides else []
    return made_of(
        claim, judged, [*explain(claim, judged, tables), *besides], asked=len(every), seconds=time.monotonic() - began,
        lengths=lengths, at=iso(time.time()),
    )  # fmt: skip


async def _watched(watch: Watch | None, round_: Awaitable[list[Answered]]) -> list[Answered]:
    if watch is None:
        return await round_
    found, taken = await watch.over(round_)
    told = [one.joules for one in found if one.joules is not None]
    tokens = sum(one.answer_tokens for one in found)
    watch.rounds.append(Round(taken, tokens, sum(told) if len(told) == len(found) else None))
    return found


def as_seen(claim: Claim, lengths: tuple[float, float]) -> Claim:
    """Return `claim` with the lengths of the run as the server counted them: they are what was tried."""
    run = msgspec.structs.replace(claim.run, prompt_tokens=round(lengths[0]), answer_tokens=round(lengths[1]))
    return msgspec.structs.replace(claim, run=run)


def figures(found: Sequence[Answered], run: Run) -> dict[str, float]:
    """Return what one round came to, of the figures that can be known."""
    end = max(one.asked_s + one.latency_s for one in found) - min(one.asked_s for one in found)
    tokens = sum(one.answer_tokens for one in found)
    several = [one.tpot_s for one in found if one.answer_tokens > 1]
    values = {
        "tokens_per_s": tokens / end,
        "ttft_p95_s": float(np.quantile([one.ttft_s for one in found], 0.95)),
        "latency_p95_s": float(np.quantile([one.latency_s for one in found], 0.95)),
    }
    if several:
        values["tpot_p95_s"] = float(np.quantile(several, 0.95))
    joules = [one.joules for one in found if one.joules is not None]
    if len(joules) == len(found):
        values[JOULES] = sum(joules) / tokens
    if run.usd_per_hour is not None:
        values["usd_per_million"] = run.usd_per_hour / (values["tokens_per_s"] * 3600) * 1e6
    return values


def missing(claim: Claim) -> dict[str, str]:
    """Return why a figure may not have been measured."""
    return {
        "usd_per_million": "what the machines cost is not said: run.usd_per_hour",
    }


async def _awake(server: Server) -> None:
    """Wait for a server that is still starting."""
    until = time.monotonic() + STARTING_S
    while True:
        try:
            await server.ask(Question(at_s=0.0, prompt="hello", answer_tokens=1), 0.0)
            return
        except NotReadyError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.5)


async def _round(claim: Claim, server: Server, texts: Texts) -> list[Answered]:
    tried = claim.tried
    count = claim.rule.requests_per_round or 2 * tried.concurrency
    questions = [Question(at_s=0.0, prompt=text, answer_tokens=tried.answer_tokens) for text in texts(count)]
    return await at_a_time(server, questions, tried.concurrency)


def _server(claim: Claim) -> AbstractAsyncContextManager[Server]:
    run = claim.run
    if run.folder:
        return embedded(Path(run.folder).expanduser(), threads=0, most=max(claim.tried.concurrency, 1))
    key = ""
    if run.key_file:
        try:
            key = Path(run.key_file).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"run.key_file {run.key_file} cannot be read: {error}") from None
    return nullcontext(Server(url=run.address, model=run.served_as or claim.tried.model, key=key, exact=run.exact))


async def _texts(claim: Claim, server: Server) -> Texts:
    """Return where prompts come from: the user's own, or texts that the server counts as long as stated."""
    own = random.Random(0)
    if claim.run.prompts:
        given = _own_prompts(Path(claim.run.prompts).expanduser())
        return lambda count: own.choices(given, k=count)
    pool = _Pool(own, claim.tried.prompt_tokens)
    for _ in range(FITTINGS):
        asked = [Question(at_s=0.0, prompt=text, answer_tokens=1) for text in pool.texts()]
        pool.fit([one.prompt_tokens for one in await asyncio.gather(*(server.ask(one, 0.0) for one in asked))])
    return pool.take


class _Pool:
    """Texts that the server counts as long as stated. A number in front of each keeps prefixes out of caches."""

    def __init__(self, rng: random.Random, tokens: int) -> None:
        from pydoc_data.topics import topics  # a long text that every Python has

        self._words = " ".join(topics.values()).split()
        self._tokens, self._random = tokens, rng
        self._starts = [rng.randrange(len(self._words)) for _ in range(POOL)]
        self._counts = [max(tokens * WORDS_PER_TOKEN, 1.0)] * POOL

    def texts(self) -> list[str]:
        """Return the pool as it is now."""
        return [self._text(place) for place in range(POOL)]

    def fit(self, seen: Sequence[int]) -> None:
        """Make each text as long as wanted, now that the server has said how it counts."""
        if not min(seen):
            raise EngineError("the server counts no prompt tokens; its figures cannot be held against a claim")
        pairs = zip(self._counts, seen, strict=True)
        self._counts = [max(count * self._tokens / tokens, 1.0) for count, tokens in pairs]

    def take(self, count: int) -> list[str]:
        """Return `count` texts."""
        return [self._text(self._random.randrange(POOL)) for _ in range(count)]

    def _text(self, place: int) -> str:
        begin, words = self._starts[place], self._words
        chosen = (words[(begin + step) % len(words)] for step in range(round(self._counts[place])))
        return f"{self._random.randrange(10**6):06d} {' '.join(chosen)}"


def _own_prompts(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"run.prompts {path} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            row = msgspec.json.decode(line) if line.strip() else {"prompt": ""}
        except msgspec.DecodeError as error:
            raise DataError(f"{path} line {number}: not JSON: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise DataError(f'{path} line {number}: no "prompt" with a text')
        if row["prompt"]:
            found.append(row["prompt"])
    if not found:
        raise DataError(f"{path}: no prompts")
    return found
