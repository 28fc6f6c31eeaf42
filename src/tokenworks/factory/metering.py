"""The meters of a running server: read beside it, told to its engines, and summed up on the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from tokenworks.core.errors import StoreError
from tokenworks.core.files import try_locked
from tokenworks.factory.far_servers import Server, far_folder, metered_servers
from tokenworks.factory.house import House
from tokenworks.ledger.entries import AnyEntry
from tokenworks.metering.attribution.coarse.counters import VllmPage
from tokenworks.metering.attribution.coarse.host import open_host_meter
from tokenworks.metering.attribution.coarse.meterer import FarMeterer
from tokenworks.metering.attribution.meterer import Meterer
from tokenworks.metering.opening import NONE, open_meter
from tokenworks.settings import MeterSettings, Settings

T = TypeVar("T")
Serving = Callable[[], Iterable[int]]
TELL_EVERY_S = 60.0  # of a meter that comes and goes the log hears no more often
log = structlog.get_logger()


def meter_folder(home: Path) -> Path:
    """Return where the calibration of this machine is kept."""
    return home / "meter"


def engine_pages(settings: Settings, home: Path) -> str:
    """Return where engines say what they worked; empty where nobody meters."""
    return str(meter_folder(home) / "engines") if settings.meter.source != NONE else ""


def meterings(house: House, serving: Serving) -> tuple[Metering, ...]:
    """Return the meter of this machine, and those of servers elsewhere; `serving` says who serves here."""
    return own_metering(house, serving), *(_far(house, server) for server in metered_servers(house.settings))


def own_metering(house: House, serving: Serving) -> Metering:
    """Return the meter of this machine."""
    return Metering(house, house.settings.meter, meter_folder(house.home), partial(_own, house, serving))


def _own(house: House, serving: Serving, folder: Path) -> Reads | None:
    settings = house.settings.meter
    meter = open_meter(settings, folder)
    if meter is None:
        return None
    return Meterer(meter, folder / "engines", interval_s=settings.interval_s, serving=serving)


def _far(house: House, server: Server) -> Metering:
    def opened(folder: Path) -> Reads:
        settings = server.meter
        meter = open_host_meter(settings, folder, server.where)
        return FarMeterer(server.name, VllmPage(server.metrics_url), meter, folder, interval_s=settings.interval_s)

    return Metering(house, server.meter, far_folder(meter_folder(house.home), server), opened)


class Reads(Protocol):
    """Who reads a meter, and divides what it says."""

    trouble: str  # why the last reading gave nothing

    def turn(self) -> None:
        """Read once."""
        ...

    def entry(self, at: float) -> AnyEntry:
        """Return what was metered since the last entry."""
        ...

    def close(self) -> None:
        """Read a last time and let go of everything."""
        ...


class Metering:
    """Reads in a thread of its own, from `begin` to `end`: a meter that hangs holds up nobody.

    `open` opens the meter, where there is one, and `folder` is locked while it is read. Raises `ConfigError`.
    """

    def __init__(
        self, house: House, settings: MeterSettings, folder: Path, open: Callable[[Path], Reads | None]
    ) -> None:
        self._house, self._settings = house, settings
        self._folder, self._open_in = folder, open
        self._thread = ThreadPoolExecutor(1, "meter")
        self._held = ExitStack()
        self._meterer: Reads | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self._told_s = -TELL_EVERY_S

    async def begin(self) -> None:
        """Open the meter, where one is configured and no other server over this home reads it. Raises `ConfigError`."""
        self._meterer = await self._run(self._open)
        if self._meterer is not None:
            self._task = asyncio.create_task(self._read())

    async def end(self) -> None:
        """Read a last time, when the engines have ended, and write down what came of it."""
        if self._task is not None and self._meterer is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._run(self._meterer.close)
            await self._write(self._meterer)
        self._held.close()
        self._thread.shutdown()

    def _open(self) -> Reads | None:
        if self._settings.source == NONE:
            return None
        if not self._held.enter_context(try_locked(self._folder / "lock")):
            log.info("another server over this home reads the meter", folder=str(self._folder))
            return None
        return self._open_in(self._folder)

    async def _read(self) -> None:
        meterer, loop = self._meterer, asyncio.get_running_loop()
        assert meterer is not None, "begin has opened it"
        due_s = loop.time() + self._settings.entry_s
        while True:
            await asyncio.sleep(self._settings.interval_s)
            await self._run(meterer.turn)
            if meterer.trouble != self._trouble and loop.time() - self._told_s >= TELL_EVERY_S:
                self._trouble, self._told_s = meterer.trouble, loop.time()
                log.warning(
                    "meter" if self._trouble else "meter is back", trouble=self._trouble, meter=self._folder.name
                )
            if loop.time() >= due_s:
                due_s += self._settings.entry_s
                await self._write(meterer)

    async def _write(self, meterer: Reads) -> None:
        try:
            entry = await self._run(lambda: meterer.entry(self._house.clock.now()))
            await self._house.ledger.record(entry)
        except StoreError as error:
            log.error("what was metered could not be written", error=str(error))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
