"""HTTP/1.1 as callers speak it, and as they should not: raw bytes on a real socket against a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.gateway.http import connection
from tokenworks.gateway.http.connection import Answer
from tokenworks.gateway.http.incoming import BrokenError, GoneError, Incoming
from tokenworks.gateway.server import Server, serve

CLOSE = b"connection: close\r\n"


async def whole(request: Incoming) -> bytes:
    """Return the body, part by part."""
    body = b""
    while (part := request.arrived()) != b"":
        if part is None:
            await request.more()
        else:
            body += part
    return body


async def echo(request: Incoming) -> None:
    """Answer with the path and the body, and note what went wrong with the body."""
    try:
        body = await whole(request)
        request.send(200, (), request.path.encode() + b" " + body)
    except BrokenError as error:
        request.send(error.status, (), str(error).encode())


class Caller:
    """A connection and the answers that came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Return status, head and body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        if b"transfer-encoding: chunked" in head:
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
            return status, head, body
        length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        return status, head, await self.reader.readexactly(int(length.split(b":")[1]))

    async def ended(self) -> bool:
        """Return whether the server hangs up, having said nothing more."""
        return await self.reader.read() == b""


@asynccontextmanager
async def called(answer: Answer = echo) -> AsyncIterator[tuple[Server, Callable[[], Awaitable[Caller]]]]:
    server = await serve(answer, "127.0.0.1", 0, drain_s=1)
    callers: list[Caller] = []

    async def call() -> Caller:
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", server.port)))
        return callers[-1]

    try:
        async with asyncio.timeout(45):
            yield server, call
    finally:
        for caller in callers:
            caller.writer.transport.abort()
        await server.stop()


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


async def test_requests_of_one_connection_are_answered_in_order() -> None:
    async with called() as (_, call):
        caller = await call()
        await caller.say(b"".join(post(f"/{n}", b"x" * n) for n in range(40)))  # more than may wait at once
        for n in range(40):
            assert (await caller.answer())[2] == f"/{n} ".encode() + b"x" * n


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 400), max_size=8), chunked=st.booleans())
async def test_however_the_bytes_are_cut_the_request_is_the_same(cuts: list[int], chunked: bool) -> None:
    body = b'{"text": "' + b"y" * 100 + b'"}'
    if chunked:
        halves = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:50], body[50:]))
        sent = b"POST /a%20b?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + halves + b"0\r\n\r\n"
    else:
        sent = post("/a%20b?q", body)
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    async with called() as (_, call):
        caller = await call()
        for begin, end in pairwise(places):
            await caller.say(sent[begin:end])
            await asyncio.sleep(0)
        status, _, told = await caller.answer()
        assert (status, told) == (200, b"/a b " + body)


@pytest.mark.parametrize(
    "smuggled",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked",
        b"content-length: 3\r\ncontent-length: 4",
        b"content-length : 3",
        b"x: a\r\n b",
        b"transfer-encoding: xchunked",
        b"content-length: -1",
        b"content-length: 99999999999999999999999",
        b"na\x00me: v",
    ],
)
async def test_what_two_servers_could_read_differently_is_refused(smuggled: bytes) -> None:
    asked: list[str] = []

    async def note(request: Incoming) -> None:
        asked.append(request.path)
        await echo(request)

    async with called(note) as (_, call):
        caller = await call()
        await caller.say(b"POST /one HTTP/1.1\r\n" + smuggled + b"\r\n\r\nabcGET /two HTTP/1.1\r\n\r\n")
        status, head, body = await caller.answer()
        assert (status, CLOSE in head) == (400, True), body
        assert await caller.ended()
        assert "/two" not in asked


async def test_headers_without_end_are_refused() -> None:
    async with called() as (_, call):
        caller = await call()
        await caller.say(b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000)
        status, head, _ = await caller.answer()
        assert (status, CLOSE in head) == (431, True)
        assert await caller.ended()


async def test_a_request_that_drips_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.1)
    monkeypatch.setattr(connection, "BODY_SILENCE_S", 0.1)
    async with called() as (_, call):
        silent, head, body = [await call() for _ in range(3)]
        await head.say(b"GET / HTTP/1.1\r\nx: y")
        await body.say(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc")
        assert (await head.answer())[0] == 408
        assert (await body.answer())[0] == 408
        for caller in (silent, head, body):
            assert await caller.ended()


async def test_a_body_that_is_slower_than_its_size_allows_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_GRACE_S", 0.2)
    async with called() as (_, call):
        caller = await call()
        await caller.say(b"POST / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n")

        async def drip() -> None:
            while True:
                await caller.say(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert (await caller.answer())[0] == 408
        dripping.cancel()


async def test_an_idle_connection_is_ended_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", 0.1)
    async with called() as (_, call):
        caller = await call()
        await caller.say(post("/", b""))
        assert (await caller.answer())[0] == 200
        assert await caller.ended()


async def test_who_is_answered_before_the_body_is_read_can_go_on() -> None:
    async def refuse(request: Incoming) -> None:
        request.send(401, (), b"no")

    async with called(refuse) as (_, call):
        caller = await call()
        await caller.say(post("/", b"x" * 3_000_000))
        assert (await caller.answer())[0] == 401
        await caller.say(post("/", b"y"))
        assert (await caller.answer())[0] == 401


async def test_a_caller_that_asks_first_is_told_to_go_on() -> None:
    async with called() as (_, call):
        caller = await call()
        await caller.say(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.say(b"abc")
        assert (await caller.answer())[2] == b"/ abc"


async def test_old_callers_get_answers_that_end_with_the_connection() -> None:
    async def stream(request: Incoming) -> None:
        request.begin(200, ())
        request.write(b"one ")
        request.write(b"two")
        request.finish()

    async with called(stream) as (_, call):
        caller = await call()
        await caller.say(b"GET / HTTP/1.0\r\n\r\n")
        told = await caller.reader.read()
        assert CLOSE in told
        assert (told[:15], told[-11:]) == (b"HTTP/1.1 200 OK", b"\r\n\r\none two")


async def test_a_head_is_answered_without_a_body() -> None:
    async with called() as (_, call):
        caller = await call()
        await caller.say(b"HEAD /x HTTP/1.1\r\n\r\n" + post("/y", b""))
        head = await caller.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 3" in head
        assert (await caller.answer())[2] == b"/y "


async def test_no_header_can_end_a_header() -> None:
    async def inject(request: Incoming) -> None:
        request.send(200, (("x-one", "a\r\nx-two: b\n\nc"),), b"")

    async with called(inject) as (_, call):
        caller = await call()
        await caller.say(post("/", b""))
        _, head, _ = await caller.answer()
        assert b"x-one: a  x-two: b  c\r\n" in head


async def test_another_protocol_is_not_spoken() -> None:
    async with called() as (_, call):
        caller = await call()
        await caller.say(b"GET /up HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nGET /two HTTP/1.1\r\n\r\n")
        assert (await caller.answer())[2] == b"/up "
        assert await caller.ended()


async def test_work_ends_when_its_caller_is_gone() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work(request: Incoming) -> None:
        await whole(request)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set_result("cancelled" if request.gone else "cut off")

    async with called(work) as (_, call):
        caller = await call()
        await caller.say(post("/", b"abc"))
        await asyncio.sleep(0.05)
        caller.writer.transport.abort()
        assert await ended == "cancelled"


async def test_a_caller_gone_in_the_middle_of_its_body_is_noticed_by_who_reads_it() -> None:
    noticed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def read(request: Incoming) -> None:
        try:
            await echo(request)
        except GoneError:
            noticed.set_result(request.gone)

    async with called(read) as (_, call):
        caller = await call()
        await caller.say(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc")
        await asyncio.sleep(0.05)
        caller.writer.transport.abort()
        assert await noticed


async def test_a_caller_that_does_not_read_makes_the_writer_wait_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0.3)
    written = 0
    ended = asyncio.Event()

    async def pour(request: Incoming) -> None:
        nonlocal written
        await whole(request)
        try:
            request.begin(200, ())
            for _ in range(10_000):
                if (drained := request.write(b"z" * 100_000)) is not None:
                    await drained
                written += 100_000
        finally:
            ended.set()

    async with called(pour) as (_, call):
        caller = await call()
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await caller.say(post("/", b"x"))
        await ended.wait()
        assert 0 < written < 100_000_000


async def test_a_body_that_nobody_reads_makes_the_caller_wait() -> None:
    release = asyncio.Event()

    async def later(request: Incoming) -> None:
        await release.wait()
        await echo(request)

    async with called(later) as (_, call):
        caller = await call()
        sending = asyncio.create_task(caller.say(post("/", b"b" * 30_000_000)))
        await asyncio.sleep(0.3)
        assert not sending.done()
        release.set()
        assert len((await caller.answer())[2]) == 30_000_002
        await sending


async def test_a_server_that_stops_ends_idle_callers_at_once_and_busy_ones_after_their_answer() -> None:
    go_on = asyncio.Event()

    async def wait(request: Incoming) -> None:
        await whole(request)
        await go_on.wait()
        request.send(200, (), b"done")

    async with called(wait) as (server, call):
        idle, busy = await call(), await call()
        await busy.say(post("/", b""))
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(server.stop())
        assert await idle.ended()
        go_on.set()
        _, head, body = await busy.answer()
        assert (CLOSE in head, body) == (True, b"done")
        assert await busy.ended()
        await stopping
        assert server.connections == 0


async def test_an_answer_that_fails_halfway_cannot_be_taken_for_a_whole_one() -> None:
    async def fail(request: Incoming) -> None:
        request.begin(200, ())
        request.write(b"half")
        raise ValueError("no more")

    async with called(fail) as (_, call):
        caller = await call()
        await caller.say(post("/", b""))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await caller.answer()


async def test_what_follows_a_body_changes_no_header() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def note(request: Incoming) -> None:
        await whole(request)
        seen.append(dict(request.headers))
        request.send(200, (), b"")

    async with called(note) as (_, call):
        caller = await call()
        await caller.say(b"POST /a HTTP/1.1\r\nx-kind: head\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await caller.say(b"0\r\nx-kind: trailer\r\nauthorization: Bearer other\r\n\r\n")
        assert (await caller.answer())[0] == 200
        assert seen == [{b"x-kind": b"head", b"transfer-encoding": b"chunked"}]


@pytest.mark.parametrize(
    ("first", "piece"),
    [(b"0\r\n", b"x-%d: " + b"v" * 1000 + b"\r\n"), (b"1;a=", b"%d" + b"e" * 1000)],
    ids=["trailers", "extension of a chunk"],
)
async def test_a_body_of_frames_alone_is_ended(first: bytes, piece: bytes) -> None:
    async with called() as (_, call):
        caller = await call()
        await caller.say(b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n" + first)
        try:
            for number in range(20_000):  # 20 MB
                await caller.say(piece % number)
        except ConnectionError:
            pass  # it was hung up on
        else:
            status, head, body = await caller.answer()
            assert (status, CLOSE in head) == (400, True), body
            assert await caller.ended()


async def test_frames_without_end_after_an_answer_end_the_connection() -> None:
    async def refuse(request: Incoming) -> None:
        request.send(401, (), b"no")

    async with called(refuse) as (server, call):
        caller = await call()
        await caller.say(b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await caller.answer())[0] == 401
        await caller.say(b"0\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(20_000):
                await caller.say(b"x-%d: %b\r\n" % (number, b"v" * 1000))
        while server.connections:
            await asyncio.sleep(0.01)


async def test_a_header_that_stands_twice_is_a_list() -> None:
    async def show(request: Incoming) -> None:
        request.send(200, (), request.headers[b"x-label"])

    async with called(show) as (_, call):
        caller = await call()
        await caller.say(b"GET / HTTP/1.1\r\nX-Label: restricted\r\nx-label: public\r\n\r\n")
        assert (await caller.answer())[2] == b"restricted, public"
