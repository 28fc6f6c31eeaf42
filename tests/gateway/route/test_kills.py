"""kill -9 of engines in the middle of streams: the same text, nothing lost or doubled, one entry each.

Short by default; `KILLS=200` is the long form.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tokenworks.serving.engine import Options
from tokenworks.serving.pool import Pool
from tokenworks.serving.supervisor import Policy
from tokenworks.settings import Settings

from .conftest import Routed

if TYPE_CHECKING:
    from ..conftest import House

KILLS = int(os.environ.get("KILLS", "3"))
SIDE_BY_SIDE = 4
SETTINGS = [(2, "openvino", "f32"), (2, "openvino", "bf16")]
SETTINGS += [(1, "openvino", "f32"), (1, "transformers", "f32")] if KILLS > 3 else []
NEVER = "\u0001never"  # a stop string makes the engine look at every token, and tell it


class Streamed:
    """One stream read in a thread of its own."""

    def __init__(self, gate: Routed, path: str, body: dict[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self.comments = 0
        self.done = False
        self._gate, self._path, self._body = gate, path, body
        self.request_id = ""
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        headers = {"x-tokenworks-label": "public"}
        options = {"stream": True, "stream_options": {"include_usage": True}}
        with self._gate.http.stream("POST", self._path, json=self._body | options, headers=headers) as answer:
            self.status = answer.status_code
            self.request_id = answer.headers["x-request-id"]
            for line in answer.iter_lines():
                self.comments += line.startswith(":")
                if line == "data: [DONE]":
                    self.done = True
                elif line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))

    def whole(self) -> tuple[str, dict[str, Any], str, int]:
        """Return text, usage, reason and how many ids, opening events and ends there were."""
        self.thread.join(60)
        assert self.status == 200
        choices = [choice for event in self.events for choice in event.get("choices", ())]
        text = "".join(one.get("text") or one.get("delta", {}).get("content") or "" for one in choices)
        openings = sum(one.get("delta", {}).get("role") == "assistant" for one in choices)
        heads = {(event.get("id"), event.get("created"), event.get("model")) for event in self.events}
        reasons = [one["finish_reason"] for one in choices if one["finish_reason"]]
        used = [{**event["usage"], "spent": None} for event in self.events if event.get("usage")]
        assert (self.done, self.comments, len(heads), len(reasons), len(used)) == (True, 0, 1, 1, 1), self.events[-1]
        return text, used[0], reasons[0], openings


@pytest.fixture(scope="module")
def slow_llama(make_llama: Callable[..., Path]) -> Path:
    """A random decoder that takes a few milliseconds for a token."""
    return make_llama(hidden_size=256, intermediate_size=1024, num_hidden_layers=6, max_position_embeddings=512)


@pytest.fixture
def replicas(house: House, slow_llama: Path) -> Iterator[Callable[..., Routed]]:
    opened: list[Routed] = []

    def make(count: int, engine: str = "openvino", precision: str = "f32", **engines: Any) -> Routed:
        async def pool() -> Pool:
            return Pool(
                open_model=lambda ref: slow_llama,
                engine=engine,
                options=Options(threads=1, precision=precision, cache=str(house.home / "slow")),
                policy=Policy(first_pause_s=0.01, longest_pause_s=0.05, give_up_after=1000),
                replicas=count,
            )

        made = Routed(house, msgspec.convert({"engines": {"replicas": count, **engines}}, Settings), house.run(pool()))
        opened.append(made)
        house.run(made.pool.ready("complete@1"))
        house.wait_until(lambda: awake(made) == count)
        return made

    yield make
    for one in opened:
        one.close()
        house.run(one.pool.close())


def awake(gate: Routed) -> int:
    return sum(status.state == "ready" for status in gate.pool.status().values())


def kill_the_busiest(gate: Routed, how: signal.Signals = signal.SIGKILL) -> None:
    place = max(gate.far.router.places(), key=lambda place: place.under_way)
    name = f"complete@1#{place.replica}" if place.replica else "complete@1"
    os.kill(gate.pool.status()[name].pid, how)


def wait_for(stream: Streamed, events: int) -> None:
    until_s = time.monotonic() + 30
    while len(stream.events) < events:
        assert time.monotonic() < until_s, f"{len(stream.events)} of {events} events came"
        time.sleep(0.001)


def questions(rng: random.Random, place: int) -> tuple[str, dict[str, Any]]:
    """Return a request: greedy and seeded, completion and chat in turn, drawn without a seed now and then."""
    text = "".join(rng.choice("abcdefgh the of in ") for _ in range(20))
    body: dict[str, Any] = {"model": "complete", "max_tokens": 60, "stop": NEVER, "ignore_eos": True}
    body |= (
        {"temperature": 0} if place % 2 == 0 else {"temperature": 1.0, "seed": rng.randrange(1 << 31), "top_p": 0.95}
    )
    if place % 4 < 2:
        return "/v1/completions", {**body, "prompt": text}
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(("count", "engine", "precision"), SETTINGS)
def test_streams_outlive_their_engine(
    replicas: Callable[..., Routed], house: House, count: int, engine: str, precision: str
) -> None:
    gate = replicas(count, engine, precision)
    rng = random.Random(int(os.environ.get("SEED", "7")))
    asked = [questions(rng, place) for place in range(SIDE_BY_SIDE)]
    undisturbed = [Streamed(gate, *one).whole() for one in asked]
    assert [one[1]["completion_tokens"] for one in undisturbed] == [60] * SIDE_BY_SIDE
    resumed = 0
    for kill in range(KILLS):
        house.wait_until(lambda: awake(gate) == count)
        streams = [Streamed(gate, *one) for one in asked]
        for one in streams:  # what has not begun has nobody else to go to where there is one engine
            wait_for(one, 1)
        wait_for(streams[kill % SIDE_BY_SIDE], rng.randrange(1, 50))
        kill_the_busiest(gate)
        assert [one.whole() for one in streams] == undisturbed
        entries = [house.entry(one.request_id) for one in streams]
        assert [(one.outcome, one.completion_tokens, one.prompt_tokens) for one in entries] == [
            ("ok", 60, used["prompt_tokens"]) for _, used, _, _ in undisturbed
        ]
        assert all(len(one.sent) > one.resumed for one in entries if one.resumed)
        resumed += sum(one.resumed for one in entries)
    print(f"{engine} {precision}: {resumed} streams finished by another engine")
    assert resumed >= KILLS


def test_a_stream_outlives_an_engine_that_falls_silent(replicas: Callable[..., Routed], house: House) -> None:
    gate = replicas(2, stall_s=0.5)
    asked = questions(random.Random(3), 3)
    undisturbed = Streamed(gate, *asked).whole()
    stream = Streamed(gate, *asked)
    wait_for(stream, 5)
    kill_the_busiest(gate, signal.SIGSTOP)
    assert stream.whole() == undisturbed
    entry = house.entry(stream.request_id)
    assert ([one.ended for one in entry.sent], entry.resumed, entry.completion_tokens) == (["silent", "ok"], 1, 60)


def test_without_time_to_resume_a_broken_stream_ends_with_an_error(
    replicas: Callable[..., Routed], house: House
) -> None:
    gate = replicas(1, resume_s=0)
    stream = Streamed(gate, *questions(random.Random(3), 0))
    wait_for(stream, 5)
    kill_the_busiest(gate)
    stream.thread.join(30)
    assert stream.events[-1]["error"]["code"] == "engine_error"
    entry = house.entry(stream.request_id)
    told = sum(bool(event.get("choices")) for event in stream.events)
    assert (entry.outcome, entry.resumed, entry.completion_tokens) == ("failed", 0, told)


def test_an_only_engine_that_dies_before_a_word_of_its_answer_is_asked_again(
    replicas: Callable[..., Routed], house: House
) -> None:
    gate = replicas(1)
    undisturbed = gate.ask("complete", max_tokens=200, ignore_eos=True)
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(gate.ask, "complete", max_tokens=200, ignore_eos=True)
        kill_while_it_writes(gate)
        answer = asking.result(60)
    assert (answer.status_code, answer.json()["choices"]) == (200, undisturbed.json()["choices"])
    assert gate.sent(answer) == [("here", "lost"), ("here", "ok")]
    assert gate.entry(answer).completion_tokens == 200


def test_a_prompt_that_ends_every_engine_does_not_end_them_for_ever(
    replicas: Callable[..., Routed], house: House
) -> None:
    gate = replicas(1)
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(gate.ask, "complete", max_tokens=200, ignore_eos=True)
        for _ in range(2):
            kill_while_it_writes(gate)
        answer = asking.result(60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")
    assert gate.sent(answer) == [("here", "lost"), ("here", "lost")]


def kill_while_it_writes(gate: Routed) -> None:
    """kill -9 of the only engine once it has been sent a request, which it takes a while to answer."""
    [member] = [gate.pool._members["complete@1"]]
    gate.house.wait_until(lambda: not member.idle and member.status.state == "ready")
    time.sleep(0.05)
    os.kill(member.status.pid, signal.SIGKILL)
    gate.house.wait_until(lambda: member.status.state != "ready")


def test_what_calls_for_more_answers_than_one_is_not_taken_up(replicas: Callable[..., Routed], house: House) -> None:
    gate = replicas(1)
    path, body = questions(random.Random(3), 0)
    stream = Streamed(gate, path, {**body, "n": 2})
    wait_for(stream, 5)
    kill_the_busiest(gate)
    stream.thread.join(30)
    assert stream.events[-1]["error"]["code"] == "engine_error"
    assert house.entry(stream.request_id).outcome == "failed"
