"""Keeps one engine process alive: starts, watches, restarts with growing pauses, drains, stops.

Whoever wants an answer asks `ready()` for the way to the engine. Knows nothing of models and requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import structlog

from tokenworks.core.errors import EngineError
from tokenworks.serving.address import Address
from tokenworks.serving.child import Child, last_words, spawn
from tokenworks.serving.upstream import Upstream

State = Literal["starting", "ready", "restarting", "failed", "stopped"]
log = structlog.get_logger()


class NotReadyError(EngineError):
    """The engine is starting; ask again after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the supervisor is."""

    start_timeout_s: float = 120.0
    first_pause_s: float = 0.2  # before the first restart; doubles with each quick failure
    longest_pause_s: float = 10.0
    stable_s: float = 20.0  # an engine that lived this long has earned a fresh count
    give_up_after: int = 5  # quick failures in a row: callers are refused at once from then on
    retry_failed_s: float = 60.0
    health_every_s: float = 5.0
    health_patience_s: float = 60.0  # an engine busy with long prompts may be deaf for a while

    def pause_s(self, quick_failures: int) -> float:
        """Return how long to wait before the next start."""
        if quick_failures >= self.give_up_after:
            return self.retry_failed_s
        return float(min(self.longest_pause_s, self.first_pause_s * 2 ** min(30, max(0, quick_failures - 1))))


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be seen of an engine from outside."""

    state: State
    pid: int = 0
    restarts: int = 0
    load_s: float = 0.0
    does: tuple[str, ...] = ()
    error: str = ""


class Supervisor:
    """One engine command, kept running from `start` to `stop`, in our environment or in another."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        policy: Policy | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environment = environment
        self._policy = policy or Policy()
        self._state: State = "starting"
        self._child: Child | None = None
        self._upstream: Upstream | None = None
        self._restarts = 0
        self._error = ""
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> EngineStatus:
        """What is to be seen of the engine now."""
        if self._child is None:
            return EngineStatus(state=self._state, restarts=self._restarts, error=self._error)
        return EngineStatus(
            state=self._state,
            restarts=self._restarts,
            error=self._error,
            pid=self._child.pid,
            load_s=self._child.ready.load_s,
            does=self._child.ready.does,
        )

    def start(self) -> None:
        """Begin; the engine is ready later."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_alive(), name=f"supervisor {self.name}")

    @property
    def at_hand(self) -> Upstream | None:
        """The way to the engine while it is ready."""
        return self._upstream

    async def ready(self, timeout_s: float) -> Upstream:
        """Return the way to the engine, waiting up to `timeout_s` for it.

        Raises `NotReadyError` while it is starting, `EngineError` when it has given up or was stopped.
        """
        if self._upstream is not None:
            return self._upstream
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._upstream is None and self._state in ("starting", "restarting"):
                    await self._changed.wait()
        if self._upstream is not None:
            return self._upstream
        if self._state == "failed":
            raise EngineError(
                f"engine of {self.name} failed {self._policy.give_up_after} times in a row: {self._error}"
            )
        if self._state == "stopped":
            raise EngineError(f"engine of {self.name} was stopped")
        raise NotReadyError(f"engine of {self.name} is {self._state}; ask again in a moment", retry_after_s=1.0)

    async def moved(self, port: int, state: str, timeout_s: float) -> int:
        """Return where the engine listens (0: nowhere) once that is not `port` or its state not `state`, or in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._port == port and self._state == state:
                    await self._changed.wait()
        return self._port

    @property
    def _port(self) -> int:
        return self._upstream.address.port if self._upstream is not None else 0

    async def stop(self, drain_s: float = 10.0) -> None:
        """End the engine: politely, then after `drain_s` by force. No process of it is left."""
        self._enter("stopped")
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._child is not None:
            await self._child.stop(drain_s)
            self._child = None
        self._disconnect()

    async def _keep_alive(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            self._enter("starting" if self._state != "failed" else "failed")
            started_s = loop.time()
            self._error = await self._live()
            failures = 1 if loop.time() - started_s > self._policy.stable_s else failures + 1
            self._restarts += 1
            self._enter("failed" if failures >= self._policy.give_up_after else "restarting")
            pause_s = self._policy.pause_s(failures)
            log.warning("engine ended", engine=self.name, failures=failures, restart_in_s=pause_s, error=self._error)
            await asyncio.sleep(pause_s)

    async def _live(self) -> str:
        """See the engine through one life; return why it ended."""
        try:
            child = await spawn(
                self._command, start_timeout_s=self._policy.start_timeout_s, environment=self._environment
            )
        except EngineError as error:
            return str(error)
        self._child = child
        self._upstream = Upstream(Address(host="127.0.0.1", port=child.ready.port))
        self._enter("ready")
        health = asyncio.create_task(self._watch_health(child, self._upstream))
        try:
            status = await child.exited()
        finally:
            health.cancel()
        self._child = None
        self._disconnect()
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"engine process {child.pid} {how}{last_words(child.tail.splitlines())}"

    async def _watch_health(self, child: Child, upstream: Upstream) -> None:
        """End an engine that no longer answers; `_live` then sees it go."""
        policy = self._policy
        while True:
            await asyncio.sleep(policy.health_every_s)
            try:
                response = await upstream.request("GET", "/health", patience_s=policy.health_patience_s)
                await response.read()
                healthy = response.status == 200
            except EngineError:
                healthy = False
            if not healthy:
                log.warning("engine does not answer its health check", engine=self.name, pid=child.pid)
                child.kill()
                return

    def _disconnect(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def _enter(self, state: State) -> None:
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
