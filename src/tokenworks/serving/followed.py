"""An engine that another process of this machine keeps: asked at its own address, which may change when it restarts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from tokenworks.core.destination import Destination
from tokenworks.core.errors import EngineError, TokenworksError
from tokenworks.serving.address import Address
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.member import Member, told_to_ours
from tokenworks.serving.supervisor import EngineStatus, NotReadyError
from tokenworks.serving.upstream import Upstream

LOOK_S = 20.0  # a question about an address that does not change is answered after so long
AGAIN_S = 0.2
log = structlog.get_logger()


class EngineAt(msgspec.Struct, frozen=True, kw_only=True):
    """Where an engine listens on loopback; port 0: not now."""

    engine: str
    port: int
    status: EngineStatus


Reach = Callable[[str, int, str, float], Awaitable[EngineAt]]  # (ref, port and state known, longest wait for others)


class Followed(Member):
    """Follows one engine. Its keeper does not end it while anybody follows."""

    def __init__(self, ref: str, reach: Reach, name: str = "") -> None:
        super().__init__(ref, "", Destination(name=ref))
        self._reach = reach
        self._name = name or ref  # of the engine: `name@1#1` is the second of `name@1`
        self._upstream: Upstream | None = None
        self._port = 0
        self._status = EngineStatus(state="starting")
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._follow(), name=f"follow {ref}")

    @property
    def status(self) -> EngineStatus:
        """What its keeper saw last."""
        return self._status

    @property
    def at_hand(self) -> Upstream | None:
        """The way to the engine while it is ready."""
        return self._upstream

    async def upstream(self, timeout_s: float) -> Upstream:
        """Return the way to the engine, waiting for it up to `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._upstream is None and self._status.state in ("starting", "restarting", "ready"):
                    await self._changed.wait()
        if self._upstream is not None:
            return self._upstream
        if self._status.state in ("failed", "stopped"):
            raise EngineError(f"engine of {self.ref} {self._status.state}: {self._status.error}")
        raise NotReadyError(f"engine of {self.ref} is {self._status.state}; ask again in a moment", retry_after_s=1.0)

    def addressed(self, call: EngineCall) -> bytes:
        """Return the request with what the gateway adds for engines of ours."""
        return told_to_ours(call)

    async def _end(self, drain_s: float) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._move(0)

    async def _follow(self) -> None:
        while True:
            try:
                found = await self._reach(self._name, self._port, self._status.state, LOOK_S)
            except (TokenworksError, OSError) as error:
                found = EngineAt(
                    engine=self.engine, port=0, status=EngineStatus(state="failed", error=f"cannot be had: {error}")
                )
                await asyncio.sleep(AGAIN_S)
            self.engine, self._status = found.engine, found.status
            if found.port != self._port:
                self._move(found.port)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _move(self, port: int) -> None:
        if self._upstream is not None:
            self._upstream.close()
        self._upstream = Upstream(Address(host="127.0.0.1", port=port)) if port else None
        self._port = port
