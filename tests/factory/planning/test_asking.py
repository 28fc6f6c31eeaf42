"""The measuring client against servers that answer, refuse, break off and are silent."""

from __future__ import annotations

import asyncio
import json

import pytest

from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.factory.planning.asking import Question, Server, at_a_time, on_time

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "spent": {"engine_s": 0.1, "joules": 1.5, "joules_error": 0.2, "meter": "rapl"},
}
FIRST = b'data: {"choices":[{"text":""}],"usage":null}\n\n'


async def asked(behave, how, **changes):
    """Return what `how` gives of a server that `behave`s so with each connection."""
    bodies, handlers = [], []

    async def connected(reader, writer):
        handlers.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        bodies.append((head, json.loads(await reader.readexactly(length))))
        await behave(writer)
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        try:
            return await how(Server(url=f"http://127.0.0.1:{port}/v1", model="m", **changes)), bodies
        finally:
            await asyncio.gather(*handlers, return_exceptions=True)


async def answers(writer):
    writer.write(OK + FIRST)
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.write(b'data: {"choices":[{"text":"a"}],"usage":null}\n\n')
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.write(b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\ndata: [DONE]\n\n")
    await writer.drain()


def question(at=0.0):
    return Question(at_s=at, prompt="hello", answer_tokens=3)


async def test_an_answer_has_ended_with_its_last_byte_however_late_the_server_closes():
    async def closes_late(writer):
        await answers(writer)
        await asyncio.sleep(1.0)

    (one,), _ = await asked(closes_late, lambda server: at_a_time(server, [question()], 1))
    assert one.ttft_s < one.latency_s < one.ttft_s + 1.0


async def test_the_first_token_is_the_first_with_text_and_the_usage_is_the_servers():
    (one,), ((head, body),) = await asked(answers, lambda server: at_a_time(server, [question()], 1), key="k")
    assert (one.prompt_tokens, one.answer_tokens, one.joules) == (7, 3, 1.5)
    assert 0.04 <= one.ttft_s < one.latency_s - 0.03
    assert head.startswith(b"POST /v1/completions ")
    assert b"authorization: Bearer k\r\n" in head
    assert body["ignore_eos"] is True
    assert body["max_tokens"] == 3


async def test_a_server_that_does_not_know_ignore_eos_is_not_told_it():
    _, ((_, body),) = await asked(answers, lambda server: at_a_time(server, [question()], 1), exact=False)
    assert "ignore_eos" not in body


async def test_questions_are_asked_when_they_are_due():
    found, _ = await asked(answers, lambda server: on_time(server, [question(0.0), question(0.2)]))
    assert found[1].asked_s - found[0].asked_s == pytest.approx(0.2, abs=0.1)


async def test_no_more_are_under_way_than_said():
    under_way, most = 0, 0

    async def counted(writer):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await answers(writer)
        under_way -= 1

    found, _ = await asked(counted, lambda server: at_a_time(server, [question()] * 7, 3))
    assert len(found) == 7
    assert most == 3


async def refuses(writer):
    writer.write(b'HTTP/1.1 404 Not Found\r\n\r\n{"error":"no such model"}')


async def without_usage(writer):
    writer.write(OK + b'data: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n')


async def silent(writer):
    await asyncio.sleep(0.6)


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (refuses, "answered 404.*no such model"),
        (without_usage, "no usage"),
        (silent, "broke off or was silent"),
    ],
)
async def test_an_answer_that_cannot_be_measured_is_an_error_that_says_why(behave, said):
    with pytest.raises(EngineError, match=said):
        await asked(behave, lambda server: at_a_time(server, [question()], 1), timeout_s=0.3)


async def test_nobody_there_is_said_so():
    with pytest.raises(EngineError, match="cannot be reached"):
        await Server(url="http://127.0.0.1:9", model="m").ask(question(), 0.0)


def test_what_is_no_address_is_refused():
    with pytest.raises(ConfigError, match="is no address such as"):
        Server(url="127.0.0.1:8000", model="m")
