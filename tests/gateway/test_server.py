"""The socket: taken ports, draining, light and quick start."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import httpx
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.openai.face import Face
from tokenworks.gateway.server import serve


def app(answer_after_s: float = 0.0) -> Face:
    async def handle(exchange: Exchange) -> Reply:
        await asyncio.sleep(answer_after_s)
        return Reply(status=200, body=b"ok")

    return Face(handle, {("GET", "/"): ("health", handle)}, max_body=1000)


async def test_a_server_answers_until_it_is_stopped() -> None:
    server = await serve(app(), "127.0.0.1", 0)
    async with httpx.AsyncClient() as client:
        assert (await client.get(server.address)).text == "ok"
    await server.stop()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(server.address)


async def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"(?s)port {port} is taken.*server\.port"):
            await serve(app(), "127.0.0.1", port)


async def test_a_port_can_be_had_again_at_once_after_a_stop() -> None:
    first = await serve(app(), "127.0.0.1", 0)
    async with httpx.AsyncClient() as client:
        await client.get(first.address)
    await first.stop()
    second = await serve(app(), "127.0.0.1", first.port)
    await second.stop()


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 99999), ("203.0.113.7", 0)])
async def test_an_address_that_is_not_ours_is_named(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match=rf"{host}:{port}.*server\.host"):
        await serve(app(), host, port)


async def test_answers_under_way_are_finished_before_the_end() -> None:
    server = await serve(app(0.3), "127.0.0.1", 0, drain_s=5)
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(server.address))
        await asyncio.sleep(0.1)
        await server.stop()
        assert (await asking).text == "ok"


async def test_answers_that_take_too_long_are_cut_off() -> None:
    server = await serve(app(60), "127.0.0.1", 0, drain_s=0.1)
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(server.address))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            await server.stop()
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")


async def test_the_signals_of_the_process_are_left_alone() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = await serve(app(), "127.0.0.1", 0)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    await server.stop()


def test_the_gateway_is_light_to_import() -> None:
    script = (
        "import sys, psutil, tokenworks.gateway.app, tokenworks.gateway.server;"
        "heavy = {'torch', 'transformers', 'openvino', 'numpy', 'scipy', 'openai', 'httpx'} & set(sys.modules);"
        "print(psutil.Process().memory_info().rss >> 20, *heavy)"
    )
    megabytes, *heavy = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(megabytes) < 120
    assert heavy == []
