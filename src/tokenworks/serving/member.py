"""One engine in the pool, a process of ours or an address elsewhere, and the calls under way in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from tokenworks.core.destination import Destination
from tokenworks.serving.address import Address
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.supervisor import EngineStatus, Supervisor
from tokenworks.serving.upstream import Upstream


def told_to_ours(call: EngineCall) -> bytes:
    """Return the request, a JSON object, with whose prefixes it may meet and what its answer can be finished by."""
    more = b',"cache_salt":"%b"' % call.cache_salt.encode() if call.cache_salt else b""
    more += b',"resume":' + call.resume if call.resume else b""
    return call.body.rstrip()[:-1] + more + b"}" if more else call.body


class Member:
    """What every member counts."""

    def __init__(self, ref: str, engine: str, destination: Destination, address: str = "") -> None:
        self.ref = ref
        self.engine = engine
        self.destination = destination
        self.address = address  # host:port, where it is not a process of ours
        self.used_s = time.monotonic()
        self._under_way = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return self._under_way == 0

    @property
    def status(self) -> EngineStatus:
        """What is to be seen from outside."""
        raise NotImplementedError

    @property
    def at_hand(self) -> Upstream | None:
        """The way to the engine, where it need not be waited for."""
        raise NotImplementedError

    async def upstream(self, timeout_s: float) -> Upstream:
        """Return the way to the engine, waiting for it up to `timeout_s`."""
        raise NotImplementedError

    def addressed(self, call: EngineCall) -> bytes:
        """Return the request as this engine wants it: by default untouched."""
        return call.body

    def enter(self) -> None:
        """A call begins."""
        self._under_way += 1
        self._empty.clear()
        self.used_s = time.monotonic()

    def exit(self) -> None:
        """A call ended."""
        self._under_way -= 1
        if not self._under_way:
            self._empty.set()

    async def leave(self, drain_s: float) -> None:
        """Let calls under way finish for up to `drain_s`, then end."""
        try:
            async with asyncio.timeout(drain_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        await self._end(drain_s)

    async def _end(self, drain_s: float) -> None:
        raise NotImplementedError


class Local(Member):
    """An engine process of this machine."""

    def __init__(self, ref: str, engine: str, supervisor: Supervisor) -> None:
        super().__init__(ref, engine, Destination(name=ref))
        self._supervisor = supervisor

    @property
    def status(self) -> EngineStatus:
        """What its supervisor sees."""
        return self._supervisor.status

    @property
    def at_hand(self) -> Upstream | None:
        """The way to the engine while it is ready."""
        return self._supervisor.at_hand

    async def moved(self, port: int, state: str, timeout_s: float) -> int:
        """Return where the engine listens (0: nowhere) once that, or its state, is another, or in time."""
        return await self._supervisor.moved(port, state, timeout_s)

    async def upstream(self, timeout_s: float) -> Upstream:
        """Return the way to the engine, waiting for it up to `timeout_s`."""
        return await self._supervisor.ready(timeout_s)

    def addressed(self, call: EngineCall) -> bytes:
        """Return the request with what the gateway adds for engines of ours."""
        return told_to_ours(call)

    async def _end(self, drain_s: float) -> None:
        await self._supervisor.stop(drain_s)


class Remote(Member):
    """A server elsewhere; nothing of it is ours to start or end."""

    def __init__(self, ref: str, engine: str, address: Address, destination: Destination) -> None:
        super().__init__(ref, engine, destination, address.netloc)
        self._upstream = Upstream(address)

    @property
    def status(self) -> EngineStatus:
        """Always ready: only a call can tell."""
        return EngineStatus(state="ready")

    @property
    def at_hand(self) -> Upstream | None:
        """The way to the server."""
        return self._upstream

    async def upstream(self, timeout_s: float) -> Upstream:
        """Return the way to the server."""
        return self._upstream

    def addressed(self, call: EngineCall) -> bytes:
        """Return the request in the words of a strict OpenAI server: its own model name, no vLLM extension."""
        if not self._upstream.address.model and b'"stream_options"' not in call.body:
            return call.body
        fields: dict[str, Any] = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
        if self._upstream.address.model:
            fields["model"] = self._upstream.address.model
        if "stream_options" in fields:
            options = msgspec.json.decode(fields["stream_options"]) or {}
            options.pop("continuous_usage_stats", None)
            fields["stream_options"] = options
        return msgspec.json.encode(fields)

    async def _end(self, drain_s: float) -> None:
        self._upstream.close()
