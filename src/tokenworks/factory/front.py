"""What a gateway worker asks its host's server, and what the server answers: engines, search, counters, background."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from tokenworks.core.calls import Caller
from tokenworks.core.errors import NotFoundError, TokenworksError
from tokenworks.gateway.limits.book import Book
from tokenworks.gateway.limits.far_book import answer_book
from tokenworks.gateway.platform.elsewhere import Runner
from tokenworks.gateway.platform.routes import Platform
from tokenworks.gateway.search import Found, Search, SearchCall
from tokenworks.serving.followed import EngineAt
from tokenworks.serving.pool import Pool
from tokenworks.settings import Settings

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode
log = structlog.get_logger()


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """Which engine a worker wants, and what it knows of it."""

    ref: str
    port: int
    state: str
    wait_s: float


class Word(msgspec.Struct, frozen=True, array_like=True):
    """What a worker says of itself."""

    pid: int
    figures: bytes


class Behind:
    """The server's side. Belongs to its loop. Without `platform` another host works in the background."""

    def __init__(
        self,
        pool: Pool,
        search: Search,
        book: Book | None,
        platform: Platform | None,
        responses: Runner,
        wake: Callable[[], None],
        figures: Callable[[], bytes],
    ) -> None:
        self._pool = pool
        self._search = search
        self._book = book
        self._platform = platform
        self._responses = responses
        self._wake = wake
        self._figures = figures

    async def answer(self, name: str, said: bytes) -> bytes:
        """Answer a call; raise `NotFoundError` for one that does not exist."""
        if name == "engine":
            wanted = _decode(said, type=Wanted)
            return _encode(await self._pool.at(wanted.ref, wanted.port, wanted.state, wanted.wait_s))
        if name == "search":
            return _encode(await self._search(_decode(said, type=SearchCall)))
        if name.startswith("book.") and self._book is not None:
            return await answer_book(self._book, name, said)
        if name == "figures":
            return self._figures()
        self._begin(name, said.decode())
        return b""

    def _begin(self, name: str, id: str) -> None:
        if name == "wake":
            self._wake()
        elif name == "response.begin":
            self._responses.begin(id)
        elif name == "response.end":
            self._responses.end(id)
        elif self._platform is None:
            return  # it stands in the catalog, where the other host looks
        elif name == "run.begin":
            self._platform.running.begin(id)
        elif name == "run.end":
            self._platform.running.end(id)
        elif name == "batch.begin":
            self._platform.batching.begin(id)
        elif name == "batch.end":
            self._platform.batching.end(id)
        else:
            raise NotFoundError(f"call {name!r} does not exist")


class Front:
    """The worker's side. Belongs to its loop; `tell` and `wake` may be called from any thread."""

    def __init__(self, calls: Path) -> None:
        self.caller = Caller(calls)
        self._loop = asyncio.get_running_loop()
        self._telling: set[asyncio.Task[None]] = set()

    async def settings(self) -> Settings:
        """Return the settings of this generation."""
        return msgspec.json.decode(await self.caller.call("settings"), type=Settings)

    async def reach(self, ref: str, port: int, state: str, wait_s: float) -> EngineAt:
        """Return where an engine is, as soon as that is not what is known of it."""
        return _decode(await self.caller.call("engine", _encode(Wanted(ref, port, state, wait_s))), type=EngineAt)

    async def say(self, name: str, figures: bytes = b"") -> bytes:
        """Say how this worker is, with its figures; return those of all, where they were asked for."""
        return await self.caller.call(name, _encode(Word(os.getpid(), figures)))

    async def together(self, own: bytes) -> bytes:
        """Return the figures of all processes of this server."""
        return await self.say("metrics", own)

    async def search(self, call: SearchCall) -> list[Found]:
        """Return the passages that answer."""
        return _decode(await self.caller.call("search", _encode(call)), type=list[Found])

    def wake(self) -> None:
        """Have fine-tuning jobs looked at."""
        self.tell("wake", "")

    def tell(self, what: str, id: str) -> None:
        """Say that something is to be done in the background."""
        self._loop.call_soon_threadsafe(self._tell, what, id)

    def _tell(self, what: str, id: str) -> None:
        task = self._loop.create_task(self._told(what, id))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _told(self, what: str, id: str) -> None:
        try:
            await self.caller.call(what, id.encode())
        except (TokenworksError, OSError) as error:  # it is kept in the catalog: the next start takes it up
            log.error("the server could not be told", what=what, id=id, error=str(error))
