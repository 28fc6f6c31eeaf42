"""The meter of a running server: read beside it, told to its engines, and summed up on the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import structlog

from tokenworks.core.errors import StoreError
from tokenworks.core.files import try_locked
from tokenworks.factory.house import House
from tokenworks.metering.attribution.meterer import Meterer
from tokenworks.metering.opening import NONE, open_meter
from tokenworks.settings import Settings

T = TypeVar("T")
log = structlog.get_logger()


def meter_folder(home: Path) -> Path:
    """Return where the calibration of this machine is kept."""
    return home / "meter"


def engine_pages(settings: Settings, home: Path) -> str:
    """Return where engines say what they worked; empty where nobody meters."""
    return str(meter_folder(home) / "engines") if settings.meter.source != NONE else ""


class Metering:
    """Reads in a thread of its own, from `begin` to `end`: a meter that hangs holds up nobody."""

    def __init__(self, house: House, serving: Callable[[], Iterable[int]]) -> None:
        self._house, self._serving = house, serving
        self._settings = house.settings.meter
        self._thread = ThreadPoolExecutor(1, "meter")
        self._held = ExitStack()
        self._meterer: Meterer | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

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

    def _open(self) -> Meterer | None:
        folder = meter_folder(self._house.home)
        meter = open_meter(self._settings, folder)
        if meter is None:
            return None
        if not self._held.enter_context(try_locked(folder / "lock")):
            meter.close()
            log.info("another server over this home reads the meter", home=str(self._house.home))
            return None
        return Meterer(meter, folder / "engines", interval_s=self._settings.interval_s, serving=self._serving)

    async def _read(self) -> None:
        meterer, loop = self._meterer, asyncio.get_running_loop()
        assert meterer is not None, "begin has opened it"
        due_s = loop.time() + self._settings.entry_s
        while True:
            await asyncio.sleep(self._settings.interval_s)
            await self._run(meterer.turn)
            if meterer.trouble != self._trouble:
                self._trouble = meterer.trouble
                log.warning("meter" if self._trouble else "meter is back", trouble=self._trouble)
            if loop.time() >= due_s:
                due_s += self._settings.entry_s
                await self._write(meterer)

    async def _write(self, meterer: Meterer) -> None:
        try:
            entry = await self._run(lambda: meterer.entry(self._house.clock.now()))
            await self._house.ledger.record(entry)
        except StoreError as error:
            log.error("what was metered could not be written", error=str(error))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
