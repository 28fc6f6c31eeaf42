"""Try a claim: ask a server, or an engine of this machine, in rounds until it is known well enough, and judge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

import msgspec
import numpy as np
import structlog

from tokenworks.core.clock import iso
from tokenworks.core.errors import ConfigError, DataError, EngineError
from tokenworks.factory.planning.asking import Answered, Question, Server, at_a_time
from tokenworks.factory.planning.here import embedded
from tokenworks.planning.claims.claim import Claim, Run
from tokenworks.planning.claims.explain import explain
from tokenworks.planning.claims.judge import enough, judge
from tokenworks.planning.claims.letter import Report, made_of
from tokenworks.planning.tables import Tables

WORDS_PER_TOKEN = 0.75  # of English, before the server has said how it counts
log = structlog.get_logger()
Texts = Callable[[int], list[str]]


def try_claim(claim: Claim, tables: Tables) -> Report:
    """Return the report on `claim`. Raises `EngineError` where nobody answers."""
    return asyncio.run(_try(claim, tables))


async def _try(claim: Claim, tables: Tables) -> Report:
    began = time.monotonic()
    async with _server(claim) as server:
        texts = await _texts(claim, server)
        rounds: dict[str, list[float]] = {}
        every: list[Answered] = []
        await _round(claim, server, texts)  # warm: connections, caches, clocks
        while not enough(rounds, claim) and time.monotonic() - began < claim.rule.most_s:
            found = await _round(claim, server, texts)
            every += found
            for name, value in figures(found, claim.run).items():
                rounds.setdefault(name, []).append(value)
            log.info(
                "round of a claim", number=len(rounds["tokens_per_s"]), tokens_per_s=round(rounds["tokens_per_s"][-1])
            )
    judged = judge(rounds, claim, missing(claim))
    lengths = (float(np.mean([a.prompt_tokens for a in every])), float(np.mean([a.answer_tokens for a in every])))
    return made_of(
        claim, judged, explain(claim, judged, tables), asked=len(every), seconds=time.monotonic() - began,
        lengths=lengths, at=iso(time.time()),
    )  # fmt: skip


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
        values["joules_per_token"] = sum(joules) / tokens
    if run.usd_per_hour is not None:
        values["usd_per_million"] = run.usd_per_hour / (values["tokens_per_s"] * 3600) * 1e6
    return values


def missing(claim: Claim) -> dict[str, str]:
    """Return why a figure may not have been measured."""
    return {
        "joules_per_token": "the server's answers carry no joules: no meter",
        "usd_per_million": "what the machines cost is not said: run.usd_per_hour",
    }


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
    from pydoc_data.topics import topics  # a long text that every Python has

    words, wanted = " ".join(topics.values()).split(), claim.tried.prompt_tokens

    def text(count: int) -> str:
        begin = own.randrange(max(len(words) - count, 1))
        return " ".join(words[begin : begin + count])

    count = max(round(wanted * WORDS_PER_TOKEN), 1)
    for _ in range(3):
        probe = [Question(at_s=0.0, prompt=text(count), answer_tokens=1) for _ in range(4)]
        seen = float(np.mean([one.prompt_tokens for one in await at_a_time(server, probe, 4)]))
        if not seen:
            raise EngineError(f"{server.url} counts no prompt tokens; its figures cannot be held against a claim")
        count = max(round(count * wanted / seen), 1)
    return lambda number: [text(count) for _ in range(number)]


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
