"""Puts an app on a socket inside a running event loop: start, stop, and a clear word when the port is taken.

Why an own protocol on httptools: docs/decisions/0280-own-http-protocol.md.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Sequence
from typing import cast

from tokenworks.core.errors import ConfigError
from tokenworks.gateway.http.connection import Connection
from tokenworks.gateway.http.running import Answer
from tokenworks.gateway.openai.face import Face, never

BACKLOG = 2048
LOOK_S = 1.0  # how often it is looked whose time is over
FAREWELL_S = 1.0  # for the last words of answers that were cut off


class Server:
    """A listening gateway. `address` is what to print; `stop` lets answers under way finish."""

    def __init__(self, listening: socket.socket, drain_s: float) -> None:
        self._name: tuple[str, int] = listening.getsockname()[:2]
        self._listening = listening
        self._drain_s = drain_s
        self._connections: set[Connection] = set()
        self._server: asyncio.Server
        self._loop = asyncio.get_running_loop()
        self._looking: asyncio.TimerHandle
        self._stopped = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that is listened on, also when 0 was asked for."""
        return self._name[1]

    @property
    def address(self) -> str:
        """Where it is: `http://127.0.0.1:8765`."""
        return shown_address(*self._name)

    @property
    def connections(self) -> int:
        """How many callers are connected."""
        return len(self._connections)

    async def start(self, answer: Answer) -> None:
        """Accept connections from now on."""
        loop = self._loop
        at_once = answer.at_once if isinstance(answer, Face) else never
        self._server = await loop.create_server(
            lambda: cast(asyncio.Protocol, Connection(answer, at_once, self._connections, loop)),
            sock=self._listening,
            backlog=BACKLOG,
        )
        self._looking = loop.call_later(LOOK_S, self._look)

    async def retire(self, linger_s: float) -> None:
        """Accept nothing more, here; return when nobody is being answered any more.

        Whoever asks on a kept connection within `linger_s` is still answered, and told that the connection ends.
        """
        self._server.close()
        for connection in list(self._connections):
            connection.retire()
        until_s = time.monotonic() + linger_s
        while any(one.busy for one in self._connections) or (self._connections and time.monotonic() < until_s):
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Accept nothing more, wait for answers under way up to the drain time, then cut them off."""
        self._server.close()
        for connection in list(self._connections):
            connection.wind_up()
        await self._until_quiet(self._drain_s)
        for connection in list(self._connections):
            connection.cut_off()
        await self._until_quiet(FAREWELL_S)
        for connection in list(self._connections):
            connection.abort()
        self._looking.cancel()
        self._listening.close()
        self._stopped.set()

    async def wait(self) -> None:
        """Return when it has stopped."""
        await self._stopped.wait()

    async def _until_quiet(self, at_most_s: float) -> None:
        until_s = time.monotonic() + at_most_s
        while self._connections and time.monotonic() < until_s:
            await asyncio.sleep(0.01)

    def _look(self) -> None:
        """End what takes too long."""
        now = self._loop.time()
        for connection in [one for one in self._connections if one.until < now]:
            connection.expire()
        self._looking = self._loop.call_later(LOOK_S, self._look)


async def serve(
    app: Answer, host: str, port: int, *, drain_s: float = 10.0, listening: socket.socket | None = None
) -> Server:
    """Listen on `host:port` (0: any free port), or on the socket given, and return when connections are accepted.

    Raises `ConfigError` when the address cannot be had.
    """
    server = Server(listening or bind(host, port), drain_s)
    await server.start(app)
    return server


def shown_address(host: str, port: int) -> str:
    """Return what to print for an address that is listened on."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def bind(host: str, port: int, *, options: Sequence[int] = (socket.SO_REUSEADDR,)) -> socket.socket:
    """Return a listening socket with these options of SOL_SOCKET set.

    Raises `ConfigError` naming the port, why it cannot be had, and the way out.
    """
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
        for option in options:
            listening.setsockopt(socket.SOL_SOCKET, option, 1)
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
