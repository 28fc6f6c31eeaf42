"""Keeps the flywheels of a running server turning: looks, and acts. Training runs in a process that gives way."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import structlog

from tokenworks.core.errors import TokenworksError
from tokenworks.factory.due import due
from tokenworks.factory.turning import Turning
from tokenworks.flywheel.turn.pilot import Wanted, wanted
from tokenworks.flywheel.turn.state import LIVE
from tokenworks.gateway.platform.shelf import add_once
from tokenworks.metering.deferral import MayStart, at_once
from tokenworks.store.nouns import Object

DEFERRED = "turn.deferred"  # since when a turn waits for a better hour, by task
log = structlog.get_logger()


class Pilot:
    """One home's flywheels. `released` is called when what answers may have changed."""

    def __init__(
        self, house: Turning, released: Callable[[], None], may_start: MayStart = at_once, within_s: float = 0.0
    ) -> None:
        self._house = house
        self._may_start, self._within_s = may_start, within_s
        self._released = released
        self._child: asyncio.subprocess.Process | None = None
        self._failed: dict[str, tuple[float, int]] = {}  # task -> not before, failures in a row

    async def run(self) -> None:
        """Look and act until cancelled; one turn at a time, for the machine is one."""
        every = self._house.settings.flywheel.look_s
        if every <= 0:
            return
        try:
            while True:
                await asyncio.sleep(every)
                await self._round()
        finally:
            if self._child is not None and self._child.returncode is None:
                self._child.terminate()

    async def _round(self) -> None:
        try:
            asked = await asyncio.to_thread(self._asked)
        except TokenworksError as error:
            log.warning("flywheel cannot look", error=str(error))
            return
        for one in asked:
            if one.action in ("look", "guard"):
                await self._look(one)
        waiting = [one for one in asked if one.action in ("turn", "go-on") and self._may(one)]
        for one in waiting:
            if await asyncio.to_thread(self._has_its_hour, one):
                await self._turn(one)
                return

    def _asked(self) -> list[Wanted]:
        return wanted(self._house.catalog, self._house.count_new, now=self._house.clock.now())

    async def _look(self, one: Wanted) -> None:
        """See what live traffic says of a trial, in this process: nothing is trained for it."""
        try:
            over = await asyncio.to_thread(self._decided, one)
        except TokenworksError as error:
            log.warning("trial could not be looked at", task=one.task, error=str(error))
            return
        if over:
            self._released()

    def _decided(self, one: Wanted) -> bool:
        if one.action == "guard":
            return self._house.guard(one.task) is not None
        return self._house.turn(one.task).step not in LIVE

    async def _turn(self, one: Wanted) -> None:
        """Run the turn in a child that dies with us and gives way to whoever answers."""
        log.info("turn begins", task=one.task, reason=one.reason)
        words = ["--home", str(self._house.home), "turn", "run", one.task, "--because", one.reason]
        self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tokenworks.cli.main", *words, "--yield-for", str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await self._child.communicate()
        status, self._child = self._child.returncode, None
        if status:
            self._wait(one.task)
            words_left = errors.decode(errors="replace").strip().splitlines()[-1:]
            log.warning("turn broke off", task=one.task, status=status, error="".join(words_left))
        else:
            self._failed.pop(one.task, None)
        self._released()

    def _may(self, one: Wanted) -> bool:
        return self._house.clock.now() >= self._failed.get(one.task, (0.0, 0))[0]

    def _has_its_hour(self, one: Wanted) -> bool:
        """Return whether a turn may begin in this hour; when it was first wanted outlives a restart.

        What has begun goes on, and what has to forget something that was erased waits for nothing.
        """
        if self._may_start is at_once or one.action == "go-on" or due(self._house.catalog, one.task).erasures:
            return True
        objects, now = self._house.catalog.objects, self._house.clock.now()
        add_once(objects, Object(kind=DEFERRED, id=one.task, scope=one.task, body={}, created_at=now))
        known = objects.get(DEFERRED, one.task)
        wanted_at = known.created_at if known is not None else now
        start = self._may_start(now, wanted_at, wanted_at + self._within_s)
        if start.now:
            objects.delete(DEFERRED, one.task)
        return start.now

    def _wait(self, task: str) -> None:
        """A turn that breaks off is taken up again, each time later: 10 s, 20 s, ... up to an hour."""
        failures = self._failed.get(task, (0.0, 0))[1] + 1
        self._failed[task] = (self._house.clock.now() + min(3600.0, 10.0 * 2 ** (failures - 1)), failures)
