"""kill -9 of the engine at every token position of greedy and seeded streams: the same text, nothing lost or doubled.

A real server and a real engine process; streams side by side, killed in the midst of them again and again until each
stream has been cut off at each of its positions, 0 (before its first token) included. Where a stream stood when its
engine died is what the gateway itself logs. STREAMS=200 TOKENS=24 is the long form;
FROM=50 TO=100 PART=0/2 does a part of it: those streams, at the first half of their positions.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from chaos.plant import words_of
from factory.platform_house import Server
from tokenworks.core.ids import new_id
from tokenworks.ledger.verify import verify

SHORT = "STREAMS" not in os.environ  # each position of some stream, not of every one
STREAMS = int(os.environ.get("STREAMS", "20"))
TOKENS = int(os.environ.get("TOKENS", "4"))
FROM, TO = int(os.environ.get("FROM", "0")), int(os.environ.get("TO", str(STREAMS)))
PART, PARTS = (int(word) for word in os.environ.get("PART", "0/1").split("/"))
POSITIONS = range(TOKENS * PART // PARTS, TOKENS * (PART + 1) // PARTS)
ENGINE = os.environ.get("ENGINE", "openvino")
PRECISION = os.environ.get("PRECISION", "f32")
SIDE_BY_SIDE = 50
MOST_KILLS = 12 * TOKENS  # of one group: far more than it takes
SLICE_S = 0.004  # of an engine's time: less than a token takes
SEEN_S = 0.025  # until what it said has come to the callers, and what they asked to it
NEVER = "\u0001never"  # a stop string makes the engine look at every token, and tell it
BROKEN = re.compile(r"(?:engine asked again .*|stream taken up .*)request_id=(\S+)(?: tokens=(\d+))?")
pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(2400)]


class Gateway(Server):
    """A server whose engines are started again at once, however often they die."""

    model = ""
    read_to = 0  # of its log
    toml = f"""
[server]
port = 0
[engines]
generation = "{ENGINE}"
precision = "{PRECISION}"
threads = 1
max_batch = {SIDE_BY_SIDE}
give_up_after = 1000000
restart_pause_s = 0.2
"""

    def engine(self) -> psutil.Process | None:
        """Return the engine's process, None while there is none."""
        children = psutil.Process(self.process.pid).children()
        return next((one for one in children if f"{self.model}@1" in words_of(one)), None)

    def cut_off(self) -> list[tuple[str, int]]:
        """Return the request and the token of each stream that the gateway has seen break since it was last asked."""
        with (self.folder / "server.log").open(errors="replace") as log:
            log.seek(self.read_to)
            lines = log.read()
            self.read_to = log.tell()
        return [(id, int(tokens or 0)) for id, tokens in BROKEN.findall(lines)]


@dataclass
class Told:
    """One stream as its caller saw it."""

    request_id: str
    status: int = 0
    text: str = ""
    usage: tuple[int, int] = (0, 0)
    reasons: list[str] = field(default_factory=list)
    heads: set[tuple[object, ...]] = field(default_factory=set)
    openings: int = 0
    pieces: int = 0  # events with text: about as many as tokens
    ends: int = 0
    strange: list[str] = field(default_factory=list)  # lines that are no events

    def take(self, line: str) -> None:
        if line == "data: [DONE]":
            self.ends += 1
        elif line.startswith("data: {"):
            self._event(json.loads(line[6:]))
        elif line:
            self.strange.append(line)

    def _event(self, event) -> None:
        if "error" in event:
            self.strange.append(json.dumps(event))
            return
        self.heads.add((event["id"], event["created"], event["model"]))
        if event.get("usage"):
            self.usage = (event["usage"]["prompt_tokens"], event["usage"]["completion_tokens"])
        for choice in event["choices"]:
            delta = choice.get("delta", {})
            self.text += choice.get("text") or delta.get("content") or ""
            self.pieces += delta.get("role") is None
            self.openings += delta.get("role") == "assistant"
            self.reasons += [choice["finish_reason"]] if choice["finish_reason"] else []

    @property
    def whole(self) -> tuple[object, ...]:
        """What must not depend on kills."""
        counts = (self.status, len(self.heads), self.openings, self.ends)
        return (self.text, self.usage, tuple(self.reasons), counts, tuple(self.strange))


class Crowd:
    """Callers who ask the same again and again."""

    def __init__(self, house: Gateway, model: str, asked: list[tuple[str, dict]]) -> None:
        self.house, self.model, self.asked = house, model, asked
        self.kills = 0
        self.waited = 0  # answers that said: come back in a moment
        headers = {"authorization": f"Bearer {house.key}"}
        limits = httpx.Limits(max_connections=None, keepalive_expiry=600)
        self.http = httpx.AsyncClient(base_url=house.url, headers=headers, timeout=60, limits=limits)

    async def awake(self) -> psutil.Process:
        """Return the engine's process once it can answer."""
        while True:
            engines = (await self.http.get("/readyz")).json()["engines"]
            seen = engines.get(f"{self.model}@1", {"state": "unknown"})
            if seen["state"] == "ready" and seen["restarts"] == self.kills and (engine := self.house.engine()):
                return engine
            await asyncio.sleep(0.02)

    async def ask(self, told: Told, number: int) -> None:
        """Read one stream to its end; ask again where the engine is still starting."""
        path, body = self.asked[number]
        body = {**body, "model": self.model, "stream": True, "stream_options": {"include_usage": True}}
        while True:
            async with self.http.stream("POST", path, json=body, headers={"x-request-id": told.request_id}) as answer:
                told.status = answer.status_code
                if told.status != 503:
                    async for line in answer.aiter_lines():
                        told.take(line)
                    return
            self.waited += 1  # nothing of it was sent anywhere
            told.request_id = new_id("every")
            await asyncio.sleep(0.1)


def questions(count: int) -> list[tuple[str, dict]]:
    """Return requests: greedy and seeded in turn, completions and chats in turn."""
    rng = random.Random(11)
    asked = []
    for place in range(count):
        text = "".join(rng.choice("abcdefgh the of in ") for _ in range(12))
        drawn = {"temperature": 1.0, "seed": rng.randrange(1 << 31), "top_p": 0.95} if place % 2 else {"temperature": 0}
        body = {"max_tokens": TOKENS, "stop": NEVER, "ignore_eos": True, **drawn}
        if place % 4 < 2:
            asked.append(("/v1/completions", {**body, "prompt": text}))
        else:
            asked.append(("/v1/chat/completions", {**body, "messages": [{"role": "user", "content": text}]}))
    return asked


@pytest.fixture(scope="module")
def house(tmp_path_factory, make_llama):
    base = make_llama(hidden_size=512, intermediate_size=1024, num_hidden_layers=6, max_position_embeddings=128)
    running = Gateway(tmp_path_factory.mktemp("every"), [base])
    running.model = base.name
    yield running
    running.stop()


def test_a_stream_killed_at_any_token_is_the_same(house, capsys):
    figures = asyncio.run(kill_everywhere(house))
    with capsys.disabled():
        print(f"\n{ENGINE} {PRECISION}, streams {FROM} to {TO}, part {PART}/{PARTS}: {figures}")


async def kill_everywhere(house: Gateway) -> str:
    crowd = Crowd(house, house.model, questions(STREAMS))
    cut, began_s = 0, time.monotonic()
    every: list[Told] = []
    for first in range(FROM, TO, SIDE_BY_SIDE):
        numbers = list(range(first, min(TO, first + SIDE_BY_SIDE)))
        undisturbed = dict(zip(numbers, await listened(crowd, numbers), strict=True))
        assert all(one.usage[1] == TOKENS and one.reasons == ["length"] for one in undisturbed.values())
        left = {number: set(POSITIONS) for number in numbers}
        lag = 2.0  # tokens of others until one that is asked for now has its first: as seen in the turns before
        for turn in range(MOST_KILLS):
            if done(left):
                break
            aims = {number: aimed(places, number + turn) for number, places in left.items() if places}
            told = await killed(crowd, aims, lag)
            for number, one in told.items():
                assert one.whole == undisturbed[number].whole, (number, aims[number])
            by_id = {one.request_id: number for number, one in told.items()}
            stood = {by_id[id]: tokens for id, tokens in house.cut_off() if id in by_id}
            for number, tokens in stood.items():
                left[number].discard(tokens)
            cut += len(stood)
            late = [tokens - aims[number] for number, tokens in stood.items() if aims[number]]
            lag = min(4.0, max(0.0, lag - 0.5 * statistics.median(late or [0])))
            every += told.values()
        assert done(left), left
    accounted(house, every)
    await crowd.http.aclose()
    each = "every position" if SHORT else f"each of {len(POSITIONS)} positions of each of {TO - FROM}"
    return (
        f"{crowd.kills} kills in {time.monotonic() - began_s:.0f} s cut off {cut} streams, at {each}; "
        f"0 of {len(every)} differ; {crowd.waited} times told to come back"
    )


def done(left: dict[int, set[int]]) -> bool:
    """Return whether each stream was cut off at each position; in the short form, some greedy and some seeded one."""
    return all(hit(left, kind) for kind in (0, 1)) if SHORT else not any(left.values())


def hit(left: dict[int, set[int]], kind: int) -> bool:
    """Return whether some stream was cut off at each position: of the greedy ones (0), of the seeded ones (1)."""
    return not set.intersection(*(places for number, places in left.items() if number % 2 == kind))


def aimed(places: set[int], start: int) -> int:
    """Return one of `places`, another for each `start`."""
    return min(places, key=lambda place: (place - start) % TOKENS)


async def listened(crowd: Crowd, numbers: list[int]) -> list[Told]:
    told = {number: Told(new_id("every")) for number in numbers}
    await asyncio.gather(*(crowd.ask(one, number) for number, one in told.items()))
    return list(told.values())


async def killed(crowd: Crowd, aims: dict[int, int], lag: float) -> dict[int, Told]:
    """Ask one after the other, so that all stand about where they are aimed at when the engine is killed.

    It is held still (SIGSTOP) after each token and let on (SIGCONT), so that nobody runs away on a busy machine.
    """
    engine = await crowd.awake()
    engine.suspend()
    told = {number: Told(new_id("every")) for number in sorted(aims, key=aims.__getitem__, reverse=True)}
    leader, *waiting = told
    ahead = round(lag + random.uniform(-0.5, 0.5))
    asking = [asyncio.create_task(crowd.ask(told[leader], leader))]
    while not told[leader].ends:
        while waiting and aims[leader] - (aims[waiting[0]] and aims[waiting[0]] + ahead) <= told[leader].pieces:
            number = waiting.pop(0)
            asking.append(asyncio.create_task(crowd.ask(told[number], number)))
        await settled()
        if told[leader].pieces >= aims[leader]:
            break
        await one_token(engine, told[leader])
    if random.random() < 0.5:  # else while it stands still
        engine.resume()
        await asyncio.sleep(random.uniform(0.0, SLICE_S))
    engine.kill()
    crowd.kills += 1
    await asyncio.gather(*asking)
    return {number: one for number, one in told.items() if number not in waiting}


async def one_token(engine: psutil.Process, leader: Told) -> None:
    """Let the engine go on in slices until `leader` has another token."""
    pieces, ends_s = leader.pieces, time.monotonic() + 20
    while leader.pieces == pieces and not leader.ends:
        assert time.monotonic() < ends_s, "no token came"
        engine.resume()
        await asyncio.sleep(SLICE_S)
        engine.suspend()
        await asyncio.sleep(SEEN_S)


async def settled() -> None:
    """Wait until what was asked has come to the gateway: its callers have nothing more to do."""
    await asyncio.sleep(SEEN_S)
    quiet = 0
    while quiet < 3:
        began_s = time.monotonic()
        await asyncio.sleep(0.005)
        quiet = quiet + 1 if time.monotonic() - began_s < 0.008 else 0


def accounted(house: Gateway, told: list[Told]) -> None:
    """Fail where an answer has not exactly one entry with the tokens that its caller was told."""
    entries = Counter(entry.request_id for entry in house.requests())
    assert all(entries[one.request_id] == 1 for one in told)
    found = {entry.request_id: entry for entry in house.requests()}
    for one in told:
        entry = found[one.request_id]
        assert (entry.outcome, entry.status) == ("ok", 200), entry
        assert (entry.prompt_tokens, entry.completion_tokens) == one.usage, entry
    assert not verify(house.home / "ledger").problems
