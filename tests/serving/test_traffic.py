"""Bytes counted at the socket, beside what a real server read from it and wrote to it."""

from __future__ import annotations

import asyncio

import pytest

from serving.test_upstream import answer, listening, request_of
from tokenworks.core.destination import Destination
from tokenworks.core.errors import EngineError
from tokenworks.serving.traffic import Traffic


def traffic() -> Traffic:
    return Traffic(Destination(name="far", region="eu"))


async def test_what_is_counted_is_what_the_server_read_and_wrote() -> None:
    read, wrote = [], []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in (b"hello", b"x" * 300_000):
            head, sent = await request_of(reader)
            read.append(len(head) + len(sent))
            wrote.append(len(answer(body)))
            writer.write(answer(body))

    async with listening(talk) as upstream:
        counts = []
        for body in (b"short", b"y" * 200_000):
            counts.append(count := traffic())
            response = await upstream.request("POST", "/v1/x", body, traffic=count)
            await response.read()
    assert [count.sent_bytes for count in counts] == read
    assert [count.received_bytes for count in counts] == wrote


async def test_a_request_sent_again_on_a_new_connection_counts_twice() -> None:
    seen = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await request_of(reader)
        writer.write(answer(b"first"))
        if not seen:
            seen.append(await request_of(reader))  # read, and hung up on without a word
            return
        seen.append((head, body))

    async with listening(talk) as upstream:
        await (await upstream.request("POST", "/v1/x", b"warm")).read()
        count = traffic()
        await (await upstream.request("POST", "/v1/x", b"body", traffic=count)).read()
    assert count.sent_bytes == sum(len(head) + len(body) for head, body in seen)
    assert len(seen) == 2


async def test_an_answer_that_breaks_off_counts_as_far_as_it_came() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer(b"x" * 100)[:-50])

    count = traffic()
    async with listening(talk) as upstream:
        with pytest.raises(EngineError):
            await (await upstream.request("POST", "/v1/x", b"body", traffic=count)).read()
    assert count.received_bytes == len(answer(b"x" * 100)) - 50


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    count = traffic()
    async with listening(talk) as upstream:
        pass
    with pytest.raises(EngineError):
        await upstream.request("POST", "/v1/x", b"body", traffic=count)
    assert (count.sent_bytes, count.received_bytes) == (0, 0)
