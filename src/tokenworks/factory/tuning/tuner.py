"""Keeps the fine-tuning jobs of a running server going: one child trains, another may validate beside it.

Where training is deferred to better hours, a job waits for its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from tokenworks.core.errors import TokenworksError
from tokenworks.factory.house import House
from tokenworks.factory.tuning import Until
from tokenworks.gateway.platform.jobs import KIND, OPEN, Job, JobError, tell
from tokenworks.gateway.platform.shelf import change
from tokenworks.metering.deferral import MayStart, at_once
from tokenworks.store.nouns import Object

LOOK_S = 0.5
MOST_DEATHS = 5  # of a job's process without an end: then it is the job
log = structlog.get_logger()


@dataclass
class _Running:
    job: str
    process: asyncio.subprocess.Process


class Tuner:
    """One home's jobs. `released` is called when what answers may have changed."""

    def __init__(
        self, house: House, released: Callable[[], None], may_start: MayStart = at_once, within_s: float = 0.0
    ) -> None:
        self._house = house
        self._may_start, self._within_s = may_start, within_s
        self._released = released
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._children: dict[Until, _Running] = {}

    def wake(self) -> None:
        """Look soon: something changed. Callable from any thread."""
        self._loop.call_soon_threadsafe(self._changed.set)

    async def run(self) -> None:
        """Look and act until cancelled; what is under way then goes on at the next start."""
        try:
            while True:
                try:
                    await self._round()
                except TokenworksError as error:
                    log.warning("fine-tuning jobs cannot be looked at", error=str(error))
                try:
                    async with asyncio.timeout(LOOK_S if self._children else 10 * LOOK_S):
                        await self._changed.wait()
                except TimeoutError:
                    continue
                finally:
                    self._changed.clear()
        finally:
            for running in self._children.values():
                _kill(running)

    async def _round(self) -> None:
        found = await asyncio.to_thread(self._house.catalog.objects.of, KIND)
        jobs = {one.id: one for one in found if one.body["status"] in OPEN}
        for until, running in list(self._children.items()):
            if running.process.returncode is None and running.job not in jobs:  # cancelled
                _kill(running)
            if running.process.returncode is not None or running.job not in jobs:
                await self._over(until, running)
        await asyncio.to_thread(self._sweep, {one.id for one in found} - set(jobs))
        busy = {running.job for running in self._children.values()}
        waiting = [one for one in jobs.values() if one.id not in busy]
        ready = next((one for one in waiting if self._may(one)), None)
        if ready is not None and "released" not in self._children:
            waiting.remove(ready)
            await self._begin(ready, "released")
        unread = [one for one in waiting if one.body["status"] == "validating_files"]
        if unread and "validated" not in self._children:
            await self._begin(unread[0], "validated")

    def _may(self, job: Object) -> bool:
        """Return whether a job may begin in this hour; one that has begun goes on. Its data are checked at once."""
        if job.body["status"] == "running":
            return True
        return self._may_start(self._house.clock.now(), job.created_at, job.created_at + self._within_s).now

    async def _begin(self, job: Object, until: Until) -> None:
        words = ["--home", str(self._house.home), "--job", job.id, "--for", str(os.getpid()), "--until", until]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tokenworks.factory.tuning.child", *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._children[until] = _Running(job.id, process)
        log.info("fine-tuning job goes on", job=job.id, until=until, process=process.pid)
        process_over = asyncio.create_task(process.wait())
        process_over.add_done_callback(lambda _: self._changed.set())

    async def _over(self, until: Until, running: _Running) -> None:
        status = await running.process.wait()
        del self._children[until]
        if status:
            await asyncio.to_thread(self._died, running.job, status)
        self._released()

    def _died(self, job: str, status: int) -> None:
        """Count a death; after some in a row the job has failed, before that it is taken up where it was."""
        now = self._house.clock.now()

        def step(one: Job) -> Job | None:
            if one.status not in OPEN:
                return None
            one = msgspec.structs.replace(one, deaths=one.deaths + 1)
            if one.deaths < MOST_DEATHS or one.releasing:
                return one
            error = JobError(code="trainer_died", message=f"the trainer died {one.deaths} times, with status {status}")
            return msgspec.structs.replace(one, status="failed", error=error, finished_at=int(now))

        objects = self._house.catalog.objects
        after = change(objects, KIND, job, Job, step)
        if after is not None:
            log.warning("trainer died", job=job, status=status, deaths=after.deaths)
            tell(objects, job, f"The trainer died with status {status}; its work goes on", at=now, level="warn")

    def _sweep(self, over: set[str]) -> None:
        """Delete the working copies of data whose jobs are over."""
        for folder in (self._house.home / "work" / "tuning").glob("ftjob-*"):
            if folder.name in over:
                shutil.rmtree(folder, ignore_errors=True)


def _kill(running: _Running) -> None:
    if running.process.returncode is None:
        running.process.kill()
