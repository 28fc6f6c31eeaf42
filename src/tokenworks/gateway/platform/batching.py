"""Batches in the background: line by line, each answer on disk before it counts, so that a restart goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import structlog

from tokenworks.core.clock import Clock
from tokenworks.core.errors import TokenworksError
from tokenworks.core.request import Answer, Answerer, Request
from tokenworks.gateway.platform.asking import NotAllowedError, patiently
from tokenworks.gateway.platform.batches import ENDPOINTS, KIND, LIVE, WINDOW_S, Batch, Wrong, at_status, get
from tokenworks.gateway.platform.errands import Errands
from tokenworks.gateway.platform.filing import Filing
from tokenworks.gateway.platform.lines import answered, check, read_line
from tokenworks.gateway.platform.room import Room
from tokenworks.gateway.platform.sheet import ERRORS, OUTPUT, Sheet
from tokenworks.gateway.platform.shelf import change
from tokenworks.gateway.platform.tally import Tally
from tokenworks.metering.deferral import MayStart, at_once
from tokenworks.store.objects import Objects

ROUND = 256  # lines read at a time, and the most that may be asked and not yet written
TELL_S = 1.0  # how often the counts are told while a batch runs
WAIT_S = 1.0  # how often a batch that waits for a better hour looks whether it is still wanted
log = structlog.get_logger()


class Batching:
    """What runs now. Belongs to one event loop; `begin` and `end` may be called from any thread.

    While anybody else has a request under way one line at a time is asked, else up to `concurrency` of all batches.
    """

    def __init__(
        self,
        objects: Objects,
        filing: Filing,
        answer: Answerer,
        *,
        folder: Path,
        in_flight: Callable[[], int],
        concurrency: int,
        clock: Clock,
        may_start: MayStart = at_once,
        within_s: float = WINDOW_S,
    ) -> None:
        self._objects = objects
        self._filing = filing
        self._answer = answer
        self._folder = folder
        self._room = Room(in_flight, concurrency)
        self._clock = clock
        self._may_start, self._within_s = may_start, within_s
        self._loop = asyncio.get_running_loop()
        self._errands = Errands("batch", self._guarded)
        self._unwanted: set[str] = set()

    async def resume(self) -> None:
        """Take up what the last process left."""
        live = {one.id for one in await asyncio.to_thread(self._objects.of, KIND) if one.body["status"] in LIVE}
        for left in self._folder.glob("*"):
            if left.name not in live:  # its end was written down, and then came a kill
                await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        for batch in sorted(live):
            self._errands.start(batch)

    def begin(self, id: str) -> None:
        """Run it in the background."""
        self._errands.begin(id)

    def end(self, id: str) -> None:
        """Ask no more lines of it; those under way come to their end."""
        self._loop.call_soon_threadsafe(self._unwanted.add, id)

    async def close(self) -> None:
        """Stop everything; it goes on at the next start."""
        await self._errands.close()

    async def _guarded(self, id: str) -> None:
        """A border: whatever a batch dies of becomes its error."""
        try:
            await self._run(id)
        except TokenworksError as failed:
            await asyncio.to_thread(self._fail, id, [Wrong(code="batch_failed", message=str(failed))])
        except Exception:
            log.exception("batch failed", batch=id)
            message = f"the batch failed; the server's log says why, under {id}"
            await asyncio.to_thread(self._fail, id, [Wrong(code="internal_error", message=message)])
        finally:
            self._unwanted.discard(id)

    async def _run(self, id: str) -> None:
        batch = await asyncio.to_thread(get, self._objects, id)
        if batch.status == "validating":
            total, wrong = await asyncio.to_thread(lambda: check(self._filing.lines(batch), batch.endpoint))
            if wrong:
                await asyncio.to_thread(self._fail, id, wrong)
                return
            await asyncio.to_thread(self._begin, id, total)
            batch = await asyncio.to_thread(get, self._objects, id)
        await self._wait_for_its_hour(id, batch)
        sheet = await asyncio.to_thread(Sheet, self._folder / id)
        try:
            tally = Tally(batch, await asyncio.to_thread(sheet.written))
            wrong = await self._ask_lines(id, batch, _Pen(sheet, tally)) if batch.status == "in_progress" else []
            await asyncio.to_thread(self._filing.file, id, sheet, tally, wrong)
        finally:
            sheet.close()

    async def _wait_for_its_hour(self, id: str, batch: Batch) -> None:
        """Return when the batch may begin: at the latest `within_s` after it was asked for. Begun, it is never held."""
        asked_at = batch.expires_at - WINDOW_S
        begin_by = asked_at + min(self._within_s, WINDOW_S)
        told = False
        while batch.status == "in_progress" and not batch.completed and id not in self._unwanted:
            start = self._may_start(self._clock.now(), asked_at, begin_by)
            if start.now:
                return
            if not told:
                log.info("batch waits", batch=id, until=start.at, reason=start.reason)
                told = True
            await asyncio.sleep(WAIT_S)

    async def _ask_lines(self, id: str, batch: Batch, pen: _Pen) -> list[Wrong]:
        """Ask what is not written yet; return why it could not go on, nothing where it could."""
        told_s = self._clock.monotonic()
        wrong: list[Wrong] = []
        unwritten = asyncio.Semaphore(ROUND)

        async def one(number: int, data: bytes) -> None:
            try:
                await self._line(id, batch, number, data, pen)
            except NotAllowedError as refused:
                wrong.append(Wrong(code="not_allowed", message=str(refused)))
            finally:
                unwritten.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for number, data in _later(self._filing.lines(batch)):
                    if number in pen.tally.done:
                        continue
                    await unwritten.acquire()
                    await self._room.enter()
                    if id in self._unwanted or wrong or self._clock.now() >= batch.expires_at:
                        self._room.leave()
                        break
                    group.create_task(one(number, data))
                    if self._clock.monotonic() - told_s > TELL_S:
                        told_s = self._clock.monotonic()
                        await asyncio.to_thread(change, self._objects, KIND, id, Batch, pen.tally.counted)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return wrong

    async def _line(self, id: str, batch: Batch, number: int, data: bytes, pen: _Pen) -> None:
        try:
            line = read_line(data)
            endpoint = ENDPOINTS[batch.endpoint]
            given = await patiently(
                self._answer,
                Request(endpoint=endpoint, body=line.body, key=batch.key_id, label=batch.data_label, face="batch"),
            )
        finally:
            self._room.leave()
        if given.status == 401:
            raise NotAllowedError(given.body["error"]["message"])
        await pen.write(number, given, answered(id, number, line.custom_id, given))

    def _begin(self, id: str, total: int) -> None:
        now = int(self._clock.now())

        def step(batch: Batch) -> Batch | None:
            if batch.status != "validating":
                return None
            return at_status(msgspec.structs.replace(batch, total=total), "in_progress", now)

        change(self._objects, KIND, id, Batch, step)

    def _fail(self, id: str, wrong: list[Wrong]) -> None:
        now = int(self._clock.now())

        def step(batch: Batch) -> Batch | None:
            return (
                at_status(msgspec.structs.replace(batch, wrong=wrong), "failed", now) if batch.status in LIVE else None
            )

        change(self._objects, KIND, id, Batch, step)


class _Pen:
    """Writes answers, those that come together at once."""

    def __init__(self, sheet: Sheet, tally: Tally) -> None:
        self.tally = tally
        self._sheet = sheet
        self._waiting: dict[str, list[bytes]] = {OUTPUT: [], ERRORS: []}
        self._lock = asyncio.Lock()

    async def write(self, number: int, answer: Answer, line: bytes) -> None:
        """Return once the line is on disk."""
        self._waiting[OUTPUT if answer.ok else ERRORS].append(line)
        async with self._lock:
            for name, lines in self._waiting.items():
                if lines:
                    self._waiting[name] = []
                    await asyncio.to_thread(self._sheet.add, name, lines)
        self.tally.count(number, answer)


async def _later(rows: Iterator[tuple[int, bytes]]) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the rows, read in a thread."""
    while chunk := await asyncio.to_thread(lambda: list(islice(rows, ROUND))):
        for row in chunk:
            yield row
