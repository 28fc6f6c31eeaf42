"""The client of engines, against real sockets that say exactly what a test wants said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.serving.address import Address, parse_address
from tokenworks.serving.upstream import Upstream

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[Upstream]:
    talking = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    upstream = Upstream(Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1]))
    try:
        yield upstream
    finally:
        upstream.close()
        server.close()
        await asyncio.gather(*talking)


async def request_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(
        next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    )
    return head, await reader.readexactly(length)


def answer(body: bytes, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n%s" % (len(body), extra, body)


async def test_a_request_arrives_as_it_was_sent_and_its_answer_comes_back() -> None:
    seen = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_of(reader))
        writer.write(answer(b"hello", b"X-Kind: greeting\r\n"))

    async with listening(talk) as upstream:
        response = await upstream.request("POST", "/v1/completions", b"body", [("x-request-id", "req-1")])
        assert (response.status, response.headers[b"x-kind"]) == (200, b"greeting")
        assert await response.read() == b"hello"
    head, body = seen[0]
    assert head.startswith(b"POST /v1/completions HTTP/1.1\r\n")
    assert b"x-request-id: req-1\r\n" in head
    assert body == b"body"


async def test_a_connection_is_used_again_after_an_answer_read_to_its_end() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await request_of(reader)
            writer.write(answer(b"again"))

    async with listening(talk) as upstream:
        for _ in range(5):
            assert await (await upstream.request("POST", "/", b"x")).read() == b"again"
    assert connections == 1


async def test_a_kept_connection_that_died_meanwhile_is_replaced_unseen() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request_of(reader)
        writer.write(answer(b"once"))
        if connections == 1:
            await reader.readuntil(b"\r\n\r\n")  # takes the second request and dies on it without a word

    async with listening(talk) as upstream:
        await (await upstream.request("POST", "/", b"x")).read()
        assert await (await upstream.request("POST", "/", b"y")).read() == b"once"
    assert connections == 2


async def test_a_request_is_not_repeated_once_the_answer_has_begun() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request_of(reader)
        writer.write(answer(b"whole"))
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf an ")
        await writer.drain()

    async with listening(talk) as upstream:
        await (await upstream.request("POST", "/", b"x")).read()
        response = await upstream.request("POST", "/", b"y")
        with pytest.raises(EngineError, match="hung up before its answer was complete"):
            await response.read()
    assert connections == 1


async def test_chunked_bodies_stream_as_they_arrive() -> None:
    go_on = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await go_on.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        await reader.read()

    async with listening(talk) as upstream:
        response = await upstream.request("POST", "/", b"x")
        assert await anext(response) == b"first"
        go_on.set()
        assert [chunk async for chunk in response] == [b"second"]


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with listening(talk) as upstream:
        assert await (await upstream.request("POST", "/", b"x")).read() == b"all of it"


async def test_interim_answers_are_passed_over() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"real"))

    async with listening(talk) as upstream:
        response = await upstream.request("POST", "/", b"x")
        assert (response.status, await response.read()) == (200, b"real")


@pytest.mark.parametrize("when", ["before the head", "within the body"])
async def test_giving_up_hangs_up_at_once(when: str) -> None:
    hung_up = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        if when == "within the body":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        hung_up.set()

    async def ask(upstream: Upstream) -> None:
        await (await upstream.request("POST", "/", b"x")).read()

    async with listening(talk) as upstream:
        task = asyncio.create_task(ask(upstream))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(30):
            await hung_up.wait()


async def test_a_stream_closed_early_hangs_up() -> None:
    hung_up = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        hung_up.set()

    async with listening(talk) as upstream:
        response = await upstream.request("POST", "/", b"x")
        await anext(response)
        await response.aclose()
        async with asyncio.timeout(30):
            await hung_up.wait()


async def test_silence_beyond_patience_is_an_error_that_says_how_long() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(talk) as upstream:
        with pytest.raises(EngineError, match=r"said nothing for 0\.05 s"):
            await upstream.request("POST", "/", b"x", patience_s=0.05)


async def test_what_is_not_http_is_named_as_that() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.org ESMTP\r\n")
        await reader.read()

    async with listening(talk) as upstream:
        with pytest.raises(EngineError, match="does not speak HTTP"):
            await upstream.request("POST", "/", b"x")


async def test_nobody_listening_is_an_engine_error_with_the_address() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(EngineError, match=f"127.0.0.1:{port} cannot be reached"):
        await Upstream(Address(host="127.0.0.1", port=port)).request("GET", "/health")


async def test_a_slow_reader_makes_the_engine_wait_and_loses_nothing() -> None:
    body = bytes(range(256)) * 40_000  # 10 MB, far more than may wait in memory

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer(body))
        await writer.drain()

    async with listening(talk) as upstream:
        response = await upstream.request("POST", "/", b"x")
        await asyncio.sleep(0.05)
        assert await response.read() == body


async def test_ten_megabytes_go_out_whole() -> None:
    body = b"x" * 10_000_000

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, received = await request_of(reader)
        writer.write(answer(str(len(received)).encode()))

    async with listening(talk) as upstream:
        assert await (await upstream.request("POST", "/", body)).read() == b"10000000"


async def test_a_key_and_a_path_prefix_go_with_every_request() -> None:
    heads = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await request_of(reader))[0])
        writer.write(answer(b""))

    async with listening(talk) as plain:
        address = parse_address(f"http://127.0.0.1:{plain.address.port}/openai/v1/", key="secret")
        upstream = Upstream(address)
        await (await upstream.request("POST", "/v1/embeddings", b"{}")).read()
        upstream.close()
    assert heads[0].startswith(b"POST /openai/v1/embeddings HTTP/1.1")
    assert b"authorization: Bearer secret\r\n" in heads[0]


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://host:99999/v1", "https://u:p@h/v1"]
)
def test_an_address_that_is_none_is_refused_with_the_right_form(url: str) -> None:
    with pytest.raises(ConfigError, match=r"https://host:8000/v1|may hold no user"):
        parse_address(url)


@given(host=st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True), port=st.integers(1, 65535), tls=st.booleans())
def test_an_address_is_what_its_url_says(host: str, port: int, tls: bool) -> None:
    address = parse_address(f"http{'s' * tls}://{host}:{port}/v1")
    assert (address.host, address.port, address.tls, address.prefix) == (host, port, tls, "")


async def test_an_answer_closed_late_does_not_hang_up_the_next_one_on_its_connection() -> None:
    begun = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer(b"first"))
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsec")
        await begun.wait()
        writer.write(b"ond")

    async with listening(talk) as upstream:
        first = await upstream.request("POST", "/", b"{}")
        assert [part async for part in first] == [b"first"]
        second = await upstream.request("POST", "/", b"{}")
        assert await second.__anext__() == b"sec"
        await first.aclose()
        begun.set()
        assert await second.__anext__() == b"ond"


async def test_what_is_left_of_an_answer_is_never_the_beginning_of_the_next() -> None:
    """An answer that has arrived whole, and of which nobody read the end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await request_of(reader)
            writer.write(answer(b"for " + head.split(b" ")[1]))

    async with listening(talk) as upstream:
        first = await upstream.request("POST", "/a")
        await asyncio.sleep(0.05)
        first.close()
        assert await (await upstream.request("POST", "/b")).read() == b"for /b"
