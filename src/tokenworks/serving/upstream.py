"""A pooled HTTP/1.1 client for engines: what the gateway's hot path needs and no more. Knows nothing of OpenAI.

Why not a library: docs/decisions/0071-upstream-client.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import cast

from tokenworks.core.errors import EngineError
from tokenworks.serving.address import Address
from tokenworks.serving.answer import Flowing
from tokenworks.serving.connection import WHOLE_BYTES, Connection, LostError
from tokenworks.serving.traffic import Traffic

CONNECT_S = 5.0
PATIENCE_S = 600.0  # a long prompt on a slow machine is silent for minutes
MAX_IDLE = 128


class UnreachedError(EngineError):
    """No connection came about: nothing was sent."""


class Response(Flowing):
    """Status and headers of an answer, and its body on demand. Read it to the end, or `close` it."""

    def __init__(self, connection: Connection, upstream: Upstream) -> None:
        self.status = connection.status
        self.headers = connection.headers  # names in lower case
        self._connection = connection
        self._upstream = upstream
        self._closed = False

    async def read(self) -> bytes:
        """Return the whole body; cancelled, hang up. Raises `EngineError` where it has no end."""
        try:
            parts, size = [], 0
            while part := await self._read():
                parts.append(part)
                size += len(part)
                if size > WHOLE_BYTES:
                    raise EngineError(f"engine at {self._connection.where} sent more than {WHOLE_BYTES} bytes")
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self.close()

    def at_hand(self) -> bytes | None:
        """Return what has arrived of the body, without waiting for more."""
        connection = self._connection
        if self._closed or connection.broken:
            return None
        part = connection.arrived()
        return b"" if part is None else part or None

    def when_more(self, call: Callable[[], None] | None) -> bool:
        """Have `call` made when more has arrived, and at the end."""
        if self._closed:
            return False
        self._connection.when_more(call)
        return True

    async def __anext__(self) -> bytes:
        """Return some more of the body."""
        try:
            part = await self._read()
        except BaseException:
            self.close()
            raise
        if not part:
            self.close()
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        """Want no more of it."""
        self.close()

    async def _read(self) -> bytes:
        """Return what has arrived of the body, waiting for something; empty at its end."""
        while (part := self._connection.arrived()) is None:
            await self._connection.more()
        return part

    def close(self) -> None:
        """Give the connection back, or hang up where the answer was not read to its end.

        Only once: given back, the connection may already carry somebody else's answer.
        """
        if not self._closed:
            self._closed = True
            self._connection.when_more(None)
            self._upstream.done(self._connection)


class Upstream:
    """Connections to one address, kept alive between requests."""

    def __init__(self, address: Address, *, connect_s: float = CONNECT_S, patience_s: float = PATIENCE_S) -> None:
        self.address = address
        self._connect_s = connect_s
        self._patience_s = patience_s
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._tls = ssl.create_default_context() if address.tls else None
        authorization = f"authorization: Bearer {address.key}\r\n" if address.key else ""
        self._common = f"host: {address.netloc}\r\n{authorization}".encode()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        *,
        patience_s: float | None = None,
        traffic: Traffic | None = None,
    ) -> Response:
        """Send a request; return its answer as soon as the headers are there.

        A kept connection that turns out dead before the first byte of the answer is replaced once; nothing else is
        repeated. Raises `EngineError` when the engine cannot be reached or breaks off. Cancelled, hangs up. `traffic`
        counts what is sent and received until the end of the answer.
        """
        head = self.head(method, path, len(body), headers)
        patience_s = self._patience_s if patience_s is None else patience_s
        while True:
            kept = self.kept()
            connection = kept or await self._connect()
            self.busy(connection)
            try:
                await connection.send(head, body, patience_s=patience_s, traffic=traffic)
            except LostError as error:
                self._busy.discard(connection)
                if kept is None or error.answered:
                    raise
            except BaseException:
                self._busy.discard(connection)
                connection.close()
                raise
            else:
                return Response(connection, self)

    def close(self) -> None:
        """Hang up everything."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    @property
    def patience_s(self) -> float:
        """The longest silence of the engine that is borne where nobody says otherwise."""
        return self._patience_s

    def head(self, method: str, path: str, length: int, headers: Iterable[tuple[str, str]]) -> bytes:
        """Return request line and headers."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        kind = "content-type: application/json\r\n" if length else ""
        start = f"{method} {self.address.prefix}{path} HTTP/1.1\r\n{kind}content-length: {length}\r\n{lines}"
        return start.encode("latin-1") + self._common + b"\r\n"

    def kept(self) -> Connection | None:
        """Return a connection that is there for the next request; whoever takes it says `busy`, and then `done`."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def busy(self, connection: Connection) -> None:
        """Note that a request is under way on it."""
        self._busy.add(connection)

    async def _connect(self) -> Connection:
        address = self.address
        loop = asyncio.get_running_loop()
        connection = Connection(address.netloc, self._lost)
        try:
            async with asyncio.timeout(self._connect_s):
                await loop.create_connection(
                    lambda: cast(asyncio.Protocol, connection), address.host, address.port, ssl=self._tls
                )
        except TimeoutError:
            raise UnreachedError(
                f"engine at {address.netloc} did not accept a connection in {self._connect_s:g} s"
            ) from None
        except OSError as error:
            raise UnreachedError(f"engine at {address.netloc} cannot be reached: {error}") from None
        return connection

    def done(self, connection: Connection) -> None:
        """Keep it for the next request, or hang up where something is left on it."""
        if connection not in self._busy:
            return
        self._busy.discard(connection)
        if connection.usable and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _lost(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
