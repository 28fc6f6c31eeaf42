"""The gateway workers of one host: started, watched, replaced, and rolled over without a refused connection.

Each slot has a listening socket that this process keeps open (SO_REUSEPORT): while a worker is replaced, connections
wait in the queue of its slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog

from tokenworks.core.calls import Answer, Answering, answer_calls
from tokenworks.core.errors import ConfigError, EngineError, TokenworksError
from tokenworks.core.files import write_atomic
from tokenworks.factory.front import Word
from tokenworks.gateway.merging import lasting, merged
from tokenworks.gateway.server import bind, shown_address
from tokenworks.settings import Settings

START_S = 60.0  # a worker that does not serve after so long is given up
HANG_S = 20.0  # a worker that says nothing for so long is ended
LOOK_S = 1.0
STABLE_S = 5.0
LONGEST_PAUSE_S = 10.0
LAST_S = 10.0  # beyond the drain time, to close files
STATE = "workers.json"
SHARED = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
log = structlog.get_logger()


@dataclass(frozen=True)
class Plan:
    """How many workers there are, and how settings are read again for those of a reload."""

    workers: int
    reread: Callable[[], Settings]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as others may know of it."""

    slot: int
    pid: int
    generation: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The workers of a host, kept in its home for whoever asks."""

    workers: list[Member]
    reloads: int = 0  # attempts
    error: str = ""  # of the last attempt


@dataclass(eq=False)
class _Worker:
    slot: int
    generation: int
    process: asyncio.subprocess.Process
    began_s: float
    heard_s: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # draining, and nothing is under way any more
    leaving: bool = False
    figures: bytes = b""


class Fleet:
    """The workers; `answer` is asked by them for what is not theirs. In the place of a `Server`."""

    def __init__(self, home: Path, settings: Settings, plan: Plan, answer: Answer) -> None:
        self._home, self._settings, self._plan, self._answer = home, settings, plan, answer
        self._folder = Path(tempfile.mkdtemp(prefix="tokenworks-"))  # a socket's path may have 107 bytes
        self._sockets: list[socket.socket] = []
        self._workers: dict[int, _Worker] = {}  # by slot: who serves
        self._known: dict[int, _Worker] = {}  # by process id: every one that has not ended
        self._keeping: set[asyncio.Task[None]] = set()
        self._calls: Answering
        self._reloading = asyncio.Lock()
        self._generation = self._reloads = 0
        self._stopping = False
        self._ended = b""  # figures of workers that are no more

    @property
    def address(self) -> str:
        """Where the workers listen."""
        host, port = self._sockets[0].getsockname()[:2]
        return shown_address(host, port)

    @property
    def pids(self) -> list[int]:
        """The processes of the workers that have not ended."""
        return list(self._known)

    async def start(self) -> None:
        """Start every worker; return when all of them serve. Raises `ConfigError` or `EngineError`."""
        server = self._settings.server
        self._sockets = listening(server.host, server.port, self._plan.workers)
        self._calls = await answer_calls(self._folder / "calls", self._called)
        for worker in await asyncio.gather(*(self._begin(slot, 0) for slot in range(self._plan.workers))):
            self._workers[worker.slot] = worker
        self._tell()
        self._keep(self._look())

    async def reload(self) -> None:
        """Replace one worker after the other by new ones with new settings; where one fails, the old ones stay."""
        async with self._reloading:
            self._reloads += 1
            before, error = self._settings, ""
            try:
                self._settings = self._plan.reread()
                for slot in range(self._plan.workers):
                    old, worker = self._workers[slot], await self._begin(slot, self._generation + 1)
                    self._workers[slot] = worker
                    self._retire(old)
                self._generation += 1
            except TokenworksError as failed:
                self._settings, error = before, str(failed)
                log.error("reload failed; the workers before go on", error=error)
            self._tell(error)

    async def stop(self) -> None:
        """Let every worker answer what is under way, up to the drain time, and end them."""
        self._stopping = True
        for task in self._keeping:
            task.cancel()
        workers, drain_s = list(self._known.values()), self._settings.server.drain_s
        for worker in workers:
            worker.leaving = True
            _signal(worker, signal.SIGTERM)
        # Those that are done go on saying so until all are: whoever asks how things stand may come to any of them.
        await _wait([_either(worker.idle.wait(), worker.process.wait()) for worker in workers], drain_s)
        for one in self._sockets:
            one.close()
        for worker in workers:
            _signal(worker, signal.SIGTERM)
        await _wait([worker.process.wait() for worker in workers], LAST_S)
        for worker in workers:
            _signal(worker, signal.SIGKILL)
        await asyncio.gather(*(worker.process.wait() for worker in workers))
        await self._calls.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._home / STATE).unlink(missing_ok=True)

    # -- one worker

    async def _begin(self, slot: int, generation: int) -> _Worker:
        """Start a worker; return it when it serves. Raises `EngineError` where it does not."""
        fd = self._sockets[slot].fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tokenworks.cli.worker", str(self._folder / "calls"), str(fd),
            pass_fds=(fd,), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        now = time.monotonic()
        worker = self._known[process.pid] = _Worker(slot, generation, process, now, now)
        ended, ready = asyncio.create_task(process.wait()), asyncio.create_task(worker.ready.wait())
        await asyncio.wait({ended, ready}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if worker.ready.is_set():
            self._keep(self._watch(worker))
            return worker
        _signal(worker, signal.SIGKILL)
        status = await process.wait()
        self._known.pop(process.pid, None)
        raise EngineError(f"gateway worker {slot} did not come to serve (status {status}); its log has the reason")

    async def _watch(self, worker: _Worker) -> None:
        """Replace a worker that ends by itself, each time later where it lives shortly."""
        status = await worker.process.wait()
        self._end(worker)
        failures = 0
        while not worker.leaving and not self._stopping and self._workers.get(worker.slot) is worker:
            failures = 0 if not failures and time.monotonic() - worker.began_s > STABLE_S else failures + 1
            log.warning("gateway worker ended", slot=worker.slot, pid=worker.process.pid, status=status)
            if failures:
                await asyncio.sleep(min(LONGEST_PAUSE_S, 0.1 * 2**failures))
            try:
                self._workers[worker.slot] = await self._begin(worker.slot, worker.generation)
            except EngineError as error:
                log.error("gateway worker cannot be replaced", slot=worker.slot, error=str(error))
            else:
                self._tell()

    async def _look(self) -> None:
        """End workers that hang; where we were stopped ourselves, nobody could be heard."""
        while True:
            slept = time.monotonic()
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for worker in self._known.values():
                if now - slept > 2 * LOOK_S:
                    worker.heard_s = now
                elif worker.ready.is_set() and now - worker.heard_s > HANG_S:
                    log.error("gateway worker hangs", slot=worker.slot, pid=worker.process.pid)
                    _signal(worker, signal.SIGKILL)

    def _retire(self, worker: _Worker) -> None:
        worker.leaving = True
        _signal(worker, signal.SIGUSR1)

    # -- what workers say

    async def _called(self, name: str, said: bytes) -> bytes:
        if name == "settings":
            return msgspec.json.encode(self._settings)
        if name not in ("ready", "alive", "idle", "metrics"):
            return await self._answer(name, said)
        word = msgspec.msgpack.decode(said, type=Word)
        worker = self._known.get(word.pid)
        if worker is not None:
            worker.heard_s = time.monotonic()
            worker.figures = word.figures or worker.figures
            if name == "ready":
                worker.ready.set()
            elif name == "idle":
                worker.idle.set()
        if name == "metrics":
            own = await self._answer("figures", b"")
            return merged([own, self._ended, *(one.figures for one in self._known.values())])
        return b""

    def _end(self, worker: _Worker) -> None:
        """Keep what a worker that has ended counted: figures that fall back look like a restart of all."""
        self._known.pop(worker.process.pid, None)
        self._ended = merged([self._ended, lasting(worker.figures)])

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    def _tell(self, error: str = "") -> None:
        workers = [
            Member(slot=one.slot, pid=one.process.pid, generation=one.generation) for one in self._workers.values()
        ]
        standing = Standing(workers=workers, reloads=self._reloads, error=error)
        write_atomic(self._home / STATE, msgspec.json.encode(standing))


def listening(host: str, port: int, count: int) -> list[socket.socket]:
    """Return so many sockets that listen on the same address; connections are spread over them.

    Raises `ConfigError` where somebody listens there already, also one who would share.
    """
    bind(host, port).close()
    first = bind(host, port, options=SHARED)
    return [first, *(bind(host, first.getsockname()[1], options=SHARED) for _ in range(count - 1))]


def read_standing(home: Path) -> Standing:
    """Return the workers of the server over `home`; raise `ConfigError` where it has none."""
    try:
        return msgspec.json.decode((home / STATE).read_bytes(), type=Standing)
    except FileNotFoundError:
        raise ConfigError(
            f"{home}: no server with workers runs here; start one with: tokenworks serve --workers 2"
        ) from None


async def _wait(works: Sequence[Coroutine[Any, Any, Any]], at_most_s: float) -> None:
    """Wait for all, up to so long; what has not come to its end is let go."""
    if works:
        _, left = await asyncio.wait([asyncio.create_task(work) for work in works], timeout=at_most_s)
        for task in left:
            task.cancel()


async def _either(one: Coroutine[Any, Any, Any], other: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(one), asyncio.create_task(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _signal(worker: _Worker, signal_number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        worker.process.send_signal(signal_number)
