"""A gateway worker: the whole request path over the home, with the engines and the background of its host's server.

    python -m tokenworks.cli.worker CALLS FD

CALLS is where the server answers (factory/front.py), FD the listening socket. SIGTERM: refuse what is new,
and end at a second one. SIGUSR1: end when everybody has been answered, also who still asks on a kept connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tokenworks.core.errors import EngineError, TokenworksError
from tokenworks.core.loop import new_loop
from tokenworks.core.process import die_with
from tokenworks.factory.engines import open_verified
from tokenworks.factory.front import Front
from tokenworks.factory.limiting import shared_book
from tokenworks.factory.path import RequestPath, platform_parts, request_path
from tokenworks.factory.remote import add_remote
from tokenworks.factory.turning import Turning
from tokenworks.gateway.limits.far_book import FarBook
from tokenworks.gateway.server import Server, serve
from tokenworks.settings import Settings

ALIVE_S = 1.0
FIND_S = 5.0
LINGER_S = 3.0  # for a request on its way on a kept connection when a worker retires
RETIRE_S = 900.0  # the longest stream that a reload waits for


async def run(calls: Path, listening: socket.socket, log_as: Callable[[str], None]) -> None:
    """Serve until told to end."""
    end = _Ends()
    front = Front(calls)
    settings = await front.settings()
    log_as(settings.telemetry.log)
    with Turning(settings, role="gateway") as house:
        path = await _open(house, front)
        await _find_engines(path, front)
        server = await serve(path.gateway.app, "", 0, drain_s=settings.server.drain_s, listening=listening)
        alive = asyncio.create_task(_tell(front, path))
        await end.asked.wait()
        await _end(end, path, server, front, settings)
        await path.close()
        alive.cancel()
        front.caller.close()


async def _open(house: Turning, front: Front) -> RequestPath:
    settings = house.settings
    path = request_path(
        house,
        open_model=open_verified(house),
        search=front.search,
        keep_bodies=settings.ledger.keep_bodies,
        book=shared_book(settings.limits) or FarBook(front.caller.call),
        reach=front.reach,
        together=front.together,
        platform=replace(platform_parts(house), wake=front.wake, elsewhere=front.tell, server=front.tell),
    )
    await add_remote(path.pool, settings.engines)
    return path


async def _find_engines(path: RequestPath, front: Front) -> None:
    """Know the engines that run already before the first request does; those that start are waited for later."""
    for served in (await path.releases.all()).values():
        if (await front.reach(served.ref, -1, "", 0.0)).port:
            with contextlib.suppress(EngineError):  # it has ended just now, and will be back
                await path.pool.ready(served.ref, FIND_S)


class _Ends:
    """What signals ask for; they are taken from the first moment on."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()  # SIGTERM: also one that comes while the worker retires
        self.last = asyncio.Event()  # a second one
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.asked.set)
        loop.add_signal_handler(signal.SIGTERM, self._hurry)

    def _hurry(self) -> None:
        if self.hurry.is_set():
            self.last.set()
        self.hurry.set()
        self.asked.set()


async def _end(end: _Ends, path: RequestPath, server: Server, front: Front, settings: Settings) -> None:
    """Retire; or drain: refuse what is new, and be reachable until the server says that all workers are done."""
    if not end.hurry.is_set():
        retiring = asyncio.create_task(server.retire(LINGER_S))
        hurry = asyncio.create_task(end.hurry.wait())
        await asyncio.wait({retiring, hurry}, timeout=RETIRE_S, return_when=asyncio.FIRST_COMPLETED)
        retiring.cancel()
        hurry.cancel()
    path.gateway.drain()
    until_s = time.monotonic() + settings.server.drain_s
    while path.gateway.admit.in_flight and time.monotonic() < until_s:
        await asyncio.sleep(0.02)
    if end.hurry.is_set():
        with contextlib.suppress(OSError, TimeoutError):
            await front.say("idle")
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await end.last.wait()
    await server.stop()


async def _tell(front: Front, path: RequestPath) -> None:
    """Say that this worker serves, and then that it lives and what it has counted."""
    said = "ready"
    while True:
        with contextlib.suppress(OSError):  # the server has gone, and we with it
            await front.say(said, path.gateway.figures())
            said = "alive"
        await asyncio.sleep(ALIVE_S)


def main(arguments: list[str], log_as: Callable[[str], None]) -> int:
    """Run the process; return its exit code. `log_as` is told the form of log lines."""
    die_with(os.getppid())
    log_as("text")
    calls, listening = Path(arguments[0]), socket.socket(fileno=int(arguments[1]))
    listening.setblocking(False)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run(calls, listening, log_as))
    except TokenworksError as error:
        print(f"tokenworks worker: {error}", file=sys.stderr)
        return error.exit_code
    return 0
