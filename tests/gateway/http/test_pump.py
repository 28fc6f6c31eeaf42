"""Chunks on their way from an engine to a caller: every one, once, in order, whoever is slow, silent or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.gateway.http.incoming import Incoming
from tokenworks.gateway.http.pump import flow
from tokenworks.gateway.route.silence import Silence
from tokenworks.serving.answer import Flowing, Passing


class Source(Flowing):
    """What an engine sends, as a test says when."""

    def __init__(self) -> None:
        self.here: list[bytes] = []
        self.ended = self.closed = False
        self.error: Exception | None = None
        self.call: Callable[[], None] | None = None
        self.woken: asyncio.Event = asyncio.Event()
        self.awaited = 0

    def send(self, *chunks: bytes, end: bool = False) -> None:
        self.here += chunks
        self.ended = end
        self.woken.set()
        if self.call is not None and chunks:
            self.call()
        if self.call is not None and end:
            self.call()

    def at_hand(self) -> bytes | None:
        if self.error is not None:
            raise self.error
        here, self.here = b"".join(self.here), []
        return here or (None if self.ended else b"")

    def when_more(self, call: Callable[[], None] | None) -> bool:
        self.call = call
        return True

    async def __anext__(self) -> bytes:
        self.awaited += 1
        while not self.here and not self.ended:
            self.woken.clear()
            await self.woken.wait()
        if not self.here:
            raise StopAsyncIteration
        return self.here.pop(0)


class Caller:
    """A connection, with a caller who reads when a test says so."""

    def __init__(self) -> None:
        self.read = b""
        self.writes = 0
        self.full: asyncio.Future[None] | None = None

    def write(self, data: bytes) -> None:
        self.read += data
        self.writes += 1

    def drained(self) -> asyncio.Future[None] | None:
        return self.full

    def hold(self) -> None:
        """Take no more."""

    def go_on(self) -> None:
        """Take more."""

    def over(self, request: Incoming) -> None:
        """Go on to the next."""


def begun(caller: Caller) -> Incoming:
    incoming = Incoming(caller, "POST", b"/", {}, http10=False)
    incoming.begin(200, (("content-type", "text/event-stream"),))
    return incoming


def body(read: bytes) -> bytes:
    """Return the content of a chunked body, whose last chunk must be there."""
    text, rest = b"", read.partition(b"\r\n\r\n")[2]
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if size == b"0":
            assert rest == b"\r\n"
            return text
        text, rest = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@settings(max_examples=100, deadline=None)
@given(
    batches=st.lists(st.lists(st.binary(min_size=1, max_size=9), max_size=4), max_size=6),
    slow=st.sets(st.integers(0, 6)),
    before=st.integers(0, 6),
)
def test_every_chunk_arrives_once_and_in_order(batches: list[list[bytes]], slow: set[int], before: int) -> None:
    async def run() -> None:
        source, caller = Source(), Caller()
        for batch in batches[:before]:
            source.send(*batch)
        task = asyncio.create_task(flow(source, begun(caller)))
        await settle()
        for number, batch in enumerate(batches[before:]):
            if number in slow:
                caller.full = asyncio.get_running_loop().create_future()
            source.send(*batch)
            await settle()
            if caller.full is not None:
                full, caller.full = caller.full, None
                full.set_result(None)
                await settle()
        source.send(end=True)
        await asyncio.wait_for(task, 10)
        assert body(caller.read) == b"".join(b"".join(batch) for batch in batches)
        assert source.call is None

    asyncio.run(run())


async def test_an_end_that_came_with_nothing_to_pass_on_is_seen_at_once() -> None:
    class Keeping(Passing):
        def at_hand(self) -> bytes | None:
            chunk = super().at_hand()
            return chunk and chunk.replace(b"data: [DONE]", b"")

        async def __anext__(self) -> bytes:
            return await self._chunks.__anext__()

    source, caller = Source(), Caller()
    source.send(b"data: [DONE]", end=True)
    await asyncio.wait_for(flow(Keeping(source), begun(caller)), 10)
    assert body(caller.read) == b""


async def test_chunks_that_come_singly_wake_no_task_and_leave_in_one_write_each() -> None:
    source, caller = Source(), Caller()
    task = asyncio.create_task(flow(source, begun(caller)))
    await settle()
    writes, awaited = caller.writes, source.awaited
    for _ in range(10):
        source.send(b"x")
    await settle()
    assert (caller.writes - writes, source.awaited - awaited) == (10, 0)
    source.send(end=True)
    await asyncio.wait_for(task, 10)


async def test_a_first_chunk_that_is_there_leaves_with_the_head() -> None:
    source, caller = Source(), Caller()
    source.send(b"first")
    task = asyncio.create_task(flow(source, begun(caller)))
    await settle()
    assert caller.writes == 1
    source.send(end=True)
    await asyncio.wait_for(task, 10)


async def test_a_head_does_not_wait_for_the_first_chunk() -> None:
    source, caller = Source(), Caller()
    task = asyncio.create_task(flow(source, begun(caller)))
    await settle()
    assert caller.read.endswith(b"\r\n\r\n")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.call is None


async def test_a_caller_who_does_not_read_stops_the_flow_until_it_does() -> None:
    source, caller = Source(), Caller()
    task = asyncio.create_task(flow(source, begun(caller)))
    await settle()
    caller.full = full = asyncio.get_running_loop().create_future()
    source.send(b"one")
    await settle()
    read = caller.read
    source.send(b"two")
    await settle()
    assert caller.read == read
    caller.full = None
    full.set_result(None)
    await settle()
    source.send(end=True)
    await asyncio.wait_for(task, 10)
    assert body(caller.read) == b"onetwo"


async def test_a_fault_in_a_layer_is_that_of_its_request() -> None:
    source, caller = Source(), Caller()
    task = asyncio.create_task(flow(source, begun(caller)))
    await settle()
    source.error = ZeroDivisionError("a bug")
    source.send(b"x")  # whoever reads the engine's connection hears nothing of it
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, 10)
    assert source.call is None


async def test_layers_of_which_one_has_to_be_awaited_are_awaited() -> None:
    class Slow(Passing):
        def when_more(self, call: Callable[[], None] | None) -> bool:
            return False

        async def __anext__(self) -> bytes:
            return (await self._chunks.__anext__()).upper()

    source, caller = Source(), Caller()
    task = asyncio.create_task(flow(Passing(Slow(source)), begun(caller)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    source.send(b"a", b"b", end=True)
    await asyncio.wait_for(flow(Slow(source), begun(caller)), 10)
    assert body(caller.read) == b"AB"


async def test_a_silence_is_told_once_and_only_when_it_lasts() -> None:
    told: list[float] = []
    loop = asyncio.get_running_loop()
    silence = Silence(0.2)
    silence.watch(lambda: told.append(loop.time()))
    began = loop.time()
    for _ in range(4):
        await asyncio.sleep(0.1)
        assert silence.told(b"x") == b"x"
    heard = loop.time()
    assert not told or heard - began > 0.5  # a machine so busy that it slept for too long itself
    while not told:
        await asyncio.sleep(0.01)
    assert told[0] >= heard + 0.19 or heard - began > 0.5
    assert silence.told(b"") is None
    assert silence.left_s() == 0.0
    assert silence.left_s() == 0.2
    silence.watch(None)
