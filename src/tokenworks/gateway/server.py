"""Puts an app on a socket inside a running event loop: start, stop, and a clear word when the port is taken.

Why uvicorn and bare ASGI: docs/decisions/0070-http-stack.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any, cast

import uvicorn

from tokenworks.core.errors import ConfigError
from tokenworks.gateway.openai.wire import App

BACKLOG = 2048
KEEP_ALIVE_S = 75  # longer than the usual pool of a client keeps an idle connection


class _Embedded(uvicorn.Server):
    """A uvicorn that leaves signals to the process around it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class Server:
    """A listening gateway. `address` is what to print; `stop` lets answers under way finish."""

    def __init__(self, listening: socket.socket, server: _Embedded, task: asyncio.Task[None]) -> None:
        self._socket = listening
        self._name: tuple[str, int] = listening.getsockname()[:2]
        self._server = server
        self._task = task

    @property
    def port(self) -> int:
        """The port that is listened on, also when 0 was asked for."""
        return self._name[1]

    @property
    def address(self) -> str:
        """Where it is: `http://127.0.0.1:8765`."""
        host, _ = self._name
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{shown}:{self.port}"

    async def stop(self) -> None:
        """Accept nothing more, wait for answers under way up to the drain time, then cut them off."""
        self._server.should_exit = True
        await self._task
        self._socket.close()

    async def wait(self) -> None:
        """Return when it has stopped; raise what ended it."""
        await asyncio.shield(self._task)


async def serve(app: App, host: str, port: int, *, drain_s: float = 10.0) -> Server:
    """Listen on `host:port` (0: any free port) and return when connections are accepted.

    Raises `ConfigError` when the address cannot be had.
    """
    listening = bind(host, port)
    config = uvicorn.Config(
        cast(Any, app),
        http="httptools",
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    server = _Embedded(config)
    task = asyncio.create_task(server.serve(sockets=[listening]), name="gateway server")
    while not server.started:
        if task.done():
            await task
            raise ConfigError(f"the server on {host}:{port} ended before it had begun; its log has the reason")
        await asyncio.sleep(0.002)
    return Server(listening, server, task)


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket; raise `ConfigError` naming the port, why it cannot be had, and the way out."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"{host}:{port}: a port is 0 to 65535; check server.host and server.port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be used: {error}; check server.host and server.port") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(f"{host}:{port}: {_why(error, port)}") from None
    listening.setblocking(False)
    return listening


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is taken by another process; stop it (`ss -ltnp 'sport = :{port}'` names it), "
            "or choose another with server.port (0: any free one)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that this process lacks; choose one above 1023 with server.port"
    return f"cannot listen: {error.strerror}; check server.host and server.port"
