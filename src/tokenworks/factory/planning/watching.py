"""The configured meter over the rounds of a claim: what its counter moved by, less what the machine draws idle."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import psutil

from tokenworks.core.errors import ConfigError
from tokenworks.factory.metering import meter_folder
from tokenworks.metering.opening import NONE, Meter, open_meter
from tokenworks.planning.claims.claim import Run
from tokenworks.settings import Settings

T = TypeVar("T")
FAR = ("wall", "prometheus")  # meters that may stand before another machine than this one
LOOK_S = 1.0  # between two readings: power between samples further apart than 3 s is a gap
SAME = 0.1  # of a round's time, the meter may have stood still for so much


class Taken(NamedTuple):
    """What the meter counted over a piece of work."""

    seconds: float
    joules: float | None  # None: it cannot be known
    because: str = ""


class Round(NamedTuple):
    """One round under the meter."""

    taken: Taken
    tokens: int
    told_j: float | None = None  # by the answers themselves; None: not by all of them


class Idle(NamedTuple):
    """What the machine draws with nobody asking."""

    watts: float
    error_w: float  # standard uncertainty, besides that of the meter
    how: str


def why_not(run: Run, settings: Settings) -> str:
    """Return why the configured meter does not see who answers; empty where it does."""
    source = settings.meter.source
    if source == NONE:
        return "no meter is configured here ([meter] source)"
    if run.folder or is_here(run.address):
        return ""
    if run.metered and all(name.strip() in FAR for name in source.split("+")):
        return ""
    return (
        f"the meter of this machine ({source}) does not see the one at {urlsplit(run.address).hostname}; where your "
        "wall or prometheus meter stands before that one, say run.metered = true"
    )


def is_here(address: str) -> bool:
    """Return whether an address is one of this machine's. One that is forwarded elsewhere looks like it."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(urlsplit(address).hostname, None)}
    except OSError:
        return False
    own = {one.address.partition("%")[0] for every in psutil.net_if_addrs().values() for one in every}
    return bool(found) and all(one in own or one.startswith("127.") or one == "::1" for one in found)


class Watch:
    """Reads a meter in a thread of its own while work runs."""

    def __init__(self, meter: Meter, source: str) -> None:
        self.meter, self.source = meter, source
        self._thread = ThreadPoolExecutor(1, "meter")
        self._seconds = self._joules = 0.0
        self._because = ""
        self.rounds: list[Round] = []

    async def __aenter__(self) -> Self:
        """Read for the first time."""
        await self._run(self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the meter."""
        await self._run(self.meter.close)
        self._thread.shutdown()

    async def over(self, work: Awaitable[T]) -> tuple[T, Taken]:
        """Return what `work` returns, and what the meter counted meanwhile."""
        await self._run(self._read)
        self._seconds, self._joules, self._because = 0.0, 0.0, ""
        began_s = time.monotonic()
        looking = asyncio.create_task(self._look())
        try:
            done = await work
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self._run(self._read)
        return done, self._taken(time.monotonic() - began_s)

    async def idle(self, seconds: float) -> Taken:
        """Leave the machine alone for so long; return what the meter counted."""
        return (await self.over(asyncio.sleep(seconds)))[1]

    def _taken(self, wall_s: float) -> Taken:
        if self._because:
            return Taken(wall_s, None, f"the meter: {self._because}")
        if abs(self._seconds - wall_s) > SAME * wall_s:
            return Taken(wall_s, None, "the meter moves too seldom for a round: raise rule.requests_per_round")
        return Taken(self._seconds, self._joules)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._run(self._read)

    def _read(self) -> None:
        found = self.meter.read()
        if found is None:
            self._because = self._because or self.meter.trouble
        elif found.span.joules is None:
            self._because = self._because or found.span.because
        else:
            self._seconds += found.span.seconds
            self._joules += found.span.joules

    async def _run(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)


def open_watch(settings: Settings) -> Watch:
    """Return the configured meter; raise `ConfigError` where it cannot be opened."""
    meter = open_meter(settings.meter, meter_folder(settings.home_path))
    if meter is None:
        raise ConfigError('[meter] source = "none": there is nothing to watch')
    return Watch(meter, settings.meter.source)


def idle_of(looks: Sequence[Taken], calibrated_w: float, error: float) -> Idle | None:
    """Return the idle power from looks before and after the run, else as calibrated; None where nobody knows it."""
    watts = [one.joules / one.seconds for one in looks if one.joules is not None and one.seconds > 0]
    if watts:
        mean = sum(watts) / len(watts)
        return Idle(mean, (max(watts) - min(watts)) / 2, "as measured before and after")
    return Idle(calibrated_w, calibrated_w * error, "as calibrated") if calibrated_w > 0 else None
