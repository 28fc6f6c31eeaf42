"""Servers elsewhere that misbehave on real sockets, and a gateway with routes to them over the engines of `house`."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from tokenworks.factory.remote import Elsewhere, elsewhere
from tokenworks.gateway.app import build
from tokenworks.gateway.server import serve
from tokenworks.serving.pool import Pool
from tokenworks.settings import Settings

if TYPE_CHECKING:
    from ..conftest import House

HEAD = {"id": "cmpl-far", "object": "text_completion", "created": 1, "model": "far"}
WORDS = ["one ", "two ", "three ", "four"]
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class Rogue:
    """An OpenAI-compatible server that answers each request as the next word of its script says; the last one stays."""

    def __init__(self, *script: str) -> None:
        self.script = list(script) or ["ok"]
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            reader = client.makefile("rb")
            start = reader.readline().decode()
            headers: dict[str, str] = {}
            while (line := reader.readline().strip()) != b"":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            body = json.loads(reader.read(int(headers.get("content-length", 0))) or b"{}")
            self.requests.append((start.split()[1], headers, body))
            act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            try:
                getattr(self, "_" + act)(client, body)
            except OSError:
                return

    def _ok(self, client: socket.socket, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._stream(client, len(WORDS))
            client.sendall(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        else:
            choice = {"index": 0, "text": "".join(WORDS), "logprobs": None, "finish_reason": "stop"}
            _reply(client, 200, {**HEAD, "choices": [choice], "usage": USAGE})

    def _stream(self, client: socket.socket, words: int) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for place, word in enumerate(WORDS[:words]):
            choice = {"index": 0, "text": word, "finish_reason": "stop" if place == len(WORDS) - 1 else None}
            client.sendall(_chunk(b"data: " + json.dumps({**HEAD, "choices": [choice]}).encode() + b"\n\n"))
            time.sleep(0.005)
        if words == len(WORDS):
            client.sendall(_chunk(b"data: " + json.dumps({**HEAD, "choices": [], "usage": USAGE}).encode() + b"\n\n"))

    def _half(self, client: socket.socket, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._stream(client, 2)
        else:
            client.sendall(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"id":')

    def _half_then_silence(self, client: socket.socket, body: dict[str, Any]) -> None:
        self._half(client, body)
        self._over.wait(30)

    def _silence(self, client: socket.socket, body: dict[str, Any]) -> None:
        self._over.wait(30)

    def _late(self, client: socket.socket, body: dict[str, Any]) -> None:
        self._over.wait(5)
        self._ok(client, body)

    def _rst(self, client: socket.socket, body: dict[str, Any]) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _error_event(self, client: socket.socket, body: dict[str, Any]) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        client.sendall(b'data: {"error":{"message":"out of memory"}}\n\n')

    def _busy(self, client: socket.socket, body: dict[str, Any]) -> None:
        _reply(client, 429, {"error": {"message": "slow down"}}, "retry-after: 30\r\n")

    def _unavailable(self, client: socket.socket, body: dict[str, Any]) -> None:
        _reply(client, 503, {"error": {"message": "restarting"}})

    def _broken(self, client: socket.socket, body: dict[str, Any]) -> None:
        _reply(client, 500, {"error": {"message": "a stack trace"}})

    def _no_key(self, client: socket.socket, body: dict[str, Any]) -> None:
        _reply(client, 401, {"error": {"message": "wrong key sk-of-the-operator"}})

    def _redirect(self, client: socket.socket, body: dict[str, Any]) -> None:
        _reply(client, 307, {}, "location: http://127.0.0.1:1/v1/completions\r\n")

    def _bad_request(self, client: socket.socket, body: dict[str, Any]) -> None:
        _reply(client, 400, {"error": {"message": "prompt is too long", "code": "context_length_exceeded"}})

    def _garbage(self, client: socket.socket, body: dict[str, Any]) -> None:
        client.sendall(b"\x00\x01 this is not HTTP\r\n\r\n")


def _reply(client: socket.socket, status: int, body: dict[str, Any], more: str = "") -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n{more}\r\n"
    client.sendall(head.encode() + data)


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class Routed:
    """A gateway with routes, its client, and what its ledger says."""

    def __init__(self, house: House, settings: Settings, pool: Pool | None = None) -> None:
        self.house = house
        self.pool = pool or house.pool
        self.far: Elsewhere
        house.run(self._start(settings))
        headers = {"authorization": f"Bearer {house.secret}"}
        self.http = httpx.Client(base_url=self._server.address, headers=headers, timeout=30)

    async def _start(self, settings: Settings) -> None:
        house = self.house
        self.far = elsewhere(settings, self.pool, house.home / "meter")
        releases, records = self.far.beside(house.releases), house.records(keep_bodies=False)
        parts = replace(house.parts(), releases=releases, pool=self.pool, records=records, router=self.far.router)
        self.gateway = build(parts)
        self._server = await serve(self.gateway.app, "127.0.0.1", 0, drain_s=2)

    def ask(self, model: str, *, label: str = "public", **fields: Any) -> httpx.Response:
        body = {"model": model, "prompt": "the quick", "max_tokens": 6, "temperature": 0, **fields}
        return self.http.post("/v1/completions", json=body, headers={"x-tokenworks-label": label} if label else {})

    def entry(self, answer: httpx.Response) -> Any:
        return self.house.entry(answer.headers["x-request-id"])

    def sent(self, answer: httpx.Response) -> list[tuple[str, str]]:
        return [(one.to, one.ended) for one in self.entry(answer).sent]

    def close(self) -> None:
        self.http.close()
        self.gateway.drain()
        self.house.run(self._server.stop())
        self.far.close()


@pytest.fixture
def rogue() -> Iterator[Callable[..., Rogue]]:
    opened: list[Rogue] = []

    def make(*script: str) -> Rogue:
        opened.append(Rogue(*script))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def routed(house: House) -> Iterator[Callable[..., Routed]]:
    opened: list[Routed] = []

    def make(*, remotes: list[dict[str, Any]], routes: dict[str, Any], **engines: Any) -> Routed:
        table = {"engines": {"remotes": remotes, **engines}, "routes": routes}
        opened.append(Routed(house, msgspec.convert(table, Settings)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
