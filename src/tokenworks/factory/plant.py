"""A running server: gateway, engines and document search over one home, started and stopped as one."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import structlog

from tokenworks.core.errors import TokenworksError
from tokenworks.core.files import write_atomic
from tokenworks.core.memory import calm_collector
from tokenworks.core.request import Answer, Request
from tokenworks.factory.accounting import record_settings
from tokenworks.factory.base import release_base, release_folder
from tokenworks.factory.deferring import deferring
from tokenworks.factory.documents import ENCODER, Documents
from tokenworks.factory.engines import open_verified
from tokenworks.factory.fleet import Fleet, Plan
from tokenworks.factory.front import Behind
from tokenworks.factory.granting import local_key
from tokenworks.factory.keeping import DAY_S, keep_house
from tokenworks.factory.limiting import shared_book
from tokenworks.factory.metering import meterings
from tokenworks.factory.path import RequestPath, house_principal, platform_parts, request_path
from tokenworks.factory.pilot import Pilot
from tokenworks.factory.remote import add_remote
from tokenworks.factory.tuning.tuner import Tuner
from tokenworks.factory.turning import Turning
from tokenworks.factory.watching import Changed, watch_in_child
from tokenworks.gateway.limits.book import Book, MemoryBook
from tokenworks.gateway.server import Server, serve
from tokenworks.metering.deferral import HOUR_S

OTHERS_S = 5.0  # how often a host looks for background work that another one was asked for
log = structlog.get_logger()


class Plant:
    """Everything that answers. Use as an asynchronous context manager on one event loop."""

    url: str
    key: str
    opened: asyncio.Task[None]  # done when everything that is released has been started

    def __init__(self, house: Turning, plan: Plan | None = None) -> None:
        self._house = house
        self._plan = plan
        self._path: RequestPath
        self._server: Server | Fleet | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._secret = ""
        self._documents = Documents(house, self._ask)
        self._meterings = meterings(house, self._serving)

    async def __aenter__(self) -> Plant:
        house, server = self._house, self._house.settings.server
        may_start, waits = deferring(house.settings), house.settings.deferral
        tuner = Tuner(house, self.new_release, may_start, waits.jobs_within_h * HOUR_S)
        await asyncio.gather(*(metering.begin() for metering in self._meterings))
        book = shared_book(house.settings.limits) or (MemoryBook() if self._plan else None)
        self._path = request_path(
            house,
            open_model=open_verified(house),
            search=self._documents.search,
            keep_bodies=house.settings.ledger.keep_bodies,
            book=book,
            platform=replace(
                platform_parts(house),
                wake=tuner.wake,
                elsewhere=None if server.background else _left_to_others,
                may_start=may_start,
                batches_within_s=waits.batches_within_h * HOUR_S,
            ),
        )
        await add_remote(self._path.pool, house.settings.engines)
        self._server = await self._listen(self._plan, book, tuner)
        self.url = self._server.address
        self.key = local_key(house)
        self._secret = self._path.keys.internal(house_principal("plant"))
        address = {"url": self.url, "pid": os.getpid(), "since": time.time()}
        write_atomic(house.home / "address.json", msgspec.json.encode(address))
        self.opened = self._begin(self._open_base())
        self._begin(watch_in_child(house, self._documents_changed))
        await asyncio.to_thread(record_settings, house)
        self._begin(self._keep())
        if server.background:
            self._begin(Pilot(house, self.new_release, may_start, waits.turns_within_h * HOUR_S).run())
            self._begin(tuner.run())
        self._begin(self._take_up())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for work in self._work:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._path.gateway.drain()
        assert self._server is not None, "it was entered"
        await self._server.stop()
        await self._path.close()
        await asyncio.gather(*(metering.end() for metering in self._meterings))
        self._documents.close()
        (self._house.home / "address.json").unlink(missing_ok=True)

    # -- what `up` tells it

    async def reload(self) -> None:
        """Replace the workers, with new settings, while everybody is answered; without workers nothing happens."""
        if isinstance(self._server, Fleet):
            await self._server.reload()

    def new_release(self) -> None:
        """Answer with the newest releases from now on."""
        self._path.releases.forget()

    def new_corpus(self, task: str) -> None:
        """Take the newest corpus of `task` into the search index, beside those of other tasks."""
        self._begin(self._documents.take_corpora())

    def fill_index(self) -> None:
        """Compute the vectors that search still lacks; words alone are searched until then."""
        self._begin(self._documents.fill())

    async def serve_folder(self, folder: Path) -> None:
        """Seal, register and release the Hugging Face folder at `folder` under its own name."""
        await asyncio.to_thread(release_folder, self._house, folder)
        self.new_release()

    # -- its own work

    async def _listen(self, plan: Plan | None, book: Book | None, tuner: Tuner) -> Server | Fleet:
        """Return who takes requests: this process, or workers."""
        settings, gateway = self._house.settings, self._path.gateway
        server = settings.server
        if plan is None:
            return await serve(gateway.app, server.host, server.port, drain_s=server.drain_s)
        assert gateway.platform is not None, "a server has one"
        platform, responses = gateway.platform if server.background else None, gateway.platform.background
        behind = Behind(self._path.pool, self._documents.search, book, platform, responses, tuner.wake, gateway.figures)
        fleet = Fleet(self._house.home, settings, plan, behind.answer)
        await fleet.start()
        return fleet

    def _serving(self) -> list[int]:
        """Return the processes that serve besides the engines."""
        return [os.getpid(), *(self._server.pids if isinstance(self._server, Fleet) else ())]

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guarded(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that serving does not depend on: its failure is logged, and the server stays up."""
        try:
            await work
        except TokenworksError as error:
            log.warning("background work failed", error=str(error))

    async def _open_base(self) -> None:
        """Release the base encoder once, start the engines of what is released, and open the index."""
        await self._documents.open()
        await asyncio.to_thread(release_base, self._house, ENCODER)
        self.new_release()
        for served in (await self._path.releases.all()).values():
            await self._path.pool.ready(served.ref)
        calm_collector()

    def _documents_changed(self, changed: Changed) -> None:
        log.info("documents changed", **msgspec.structs.asdict(changed))
        self._begin(self._documents.fill(batch=8, rest=1.0))

    async def _take_up(self) -> None:
        """Take up what the last server left, and the eval runs and batches that other hosts were asked for.

        Where another host works in the background, this one still does on the responses that it accepted.
        """
        platform = self._path.gateway.platform
        assert platform is not None, "a server has one"
        while True:
            try:
                await (platform if self._house.settings.server.background else platform.background).resume()
            except TokenworksError as error:  # the catalog is away: it comes back
                log.warning("background work could not be taken up", error=str(error))
            if self._house.settings.catalog_url.startswith("sqlite"):  # nobody else is asked
                return
            await asyncio.sleep(OTHERS_S)

    async def _keep(self) -> None:
        """Drop what is too old and finish erasures, now and every day."""
        while True:
            try:
                await asyncio.to_thread(keep_house, self._house)
            except TokenworksError as error:  # tomorrow is another day
                log.warning("old texts could not be dropped", error=str(error))
            await asyncio.sleep(DAY_S)

    async def _ask(self, request: Request) -> Answer:
        """Ask in this server's own name."""
        return await self._path.gateway.answer(msgspec.structs.replace(request, key=self._secret))


def _left_to_others(what: str, id: str) -> None:
    """Leave it to the host that works in the background: it looks into the catalog."""
