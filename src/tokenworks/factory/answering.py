"""The request path inside a process without a server: how evaluation and the flywheel ask models."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tokenworks.core.label import Label
from tokenworks.core.request import Answer, Request
from tokenworks.factory.engines import open_verified
from tokenworks.factory.house import House
from tokenworks.factory.metering import own_metering
from tokenworks.factory.path import RequestPath, house_principal, request_path
from tokenworks.factory.remote import add_remote
from tokenworks.gateway.releases import Served

T = TypeVar("T")


class Answering:
    """An event loop in a thread with the same layers as the server's, and candidates beside the released versions."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._candidates: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="answering", daemon=True)
        self._thread.start()
        self._metered = False
        self._metering = own_metering(house, lambda: [os.getpid()])
        self._path, self._secret = self._wait(self._build())

    def meter(self) -> None:
        """Read the meter from now on, where one is configured and no server over this home does.

        Not from the start: what a process draws that trains and judges in turn is not what its answers took.
        """
        if not self._metered:
            self._metered = True
            self._wait(self._metering.begin())

    def offer(self, ref: str, folder: str) -> None:
        """Make the model folder with digest `folder` answerable as `ref`, in this process only."""
        self._candidates[ref] = folder

    async def answer(self, request: Request) -> Answer:
        """Return the answer to `request`, asked in the name of the house; callable from any loop."""
        signed = msgspec.structs.replace(request, key=self._secret)
        asked = asyncio.run_coroutine_threadsafe(self._answer(signed), self._loop)
        return await asyncio.wrap_future(asked)

    def close(self) -> None:
        """End the engines and the loop."""
        self._wait(self._path.close())
        self._wait(self._metering.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _answer(self, request: Request) -> Answer:
        await self._path.pool.ready(
            request.model
        )  # the first question waits for the engine, and its time is not counted
        return await self._path.gateway.answer(request)

    async def _build(self) -> tuple[RequestPath, str]:
        own = _Candidates(self._house, self._candidates)
        path = request_path(
            self._house,
            open_model=self._open,
            releases=own,
            keep_bodies=False,  # evaluation sets are artifacts already
        )
        await add_remote(path.pool, self._house.settings.engines)  # a teacher, for labels that may leave
        return path, path.keys.internal(house_principal("evaluation"))

    def _open(self, ref: str) -> Path:
        if ref in self._candidates:
            return self._house.artifacts.folder(self._candidates[ref])
        return open_verified(self._house)(ref)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Candidates:
    """Every version by its exact name; nothing by an alias."""

    def __init__(self, house: House, candidates: dict[str, str]) -> None:
        self._house = house
        self._candidates = candidates

    async def current(self, alias: str) -> Served | None:
        """Return nothing: who judges names the version."""
        return None

    def at_hand(self, alias: str) -> Served | None:
        """Return nothing."""
        return None

    async def version(self, ref: str) -> Served | None:
        """Return a candidate, or a registered version."""
        if ref in self._candidates:
            return Served(ref=ref, label=str(Label.RESTRICTED), kind="")
        known = await asyncio.to_thread(self._house.catalog.models.find, ref)
        return Served(ref=known.ref, label=known.label, kind=known.kind)

    async def all(self) -> dict[str, Served]:
        """Return nothing."""
        return {}
