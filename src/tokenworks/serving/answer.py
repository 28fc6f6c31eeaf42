"""What is asked of an engine and what it answers, as bytes: the gateway passes both on without taking them apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import msgspec

from tokenworks.metering.attribution.coarse.account import FarWork
from tokenworks.serving.traffic import Traffic


class Chunks(Protocol):
    """A body as it arrives. `aclose` at any moment stops whoever makes it."""

    def __aiter__(self) -> Self:
        """Return itself."""
        ...

    async def __anext__(self) -> bytes:
        """Return some more bytes, never none."""
        ...

    async def aclose(self) -> None:
        """Want no more. Harmless after the end."""
        ...


class Flowing:
    """Chunks of which those that are here can also be had without a task, which costs several times more."""

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return some more bytes, never none."""
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Want no more. Harmless after the end."""

    @property
    def over(self) -> bool:
        """Whether it is known that nothing follows the chunk returned last."""
        return False

    def at_hand(self) -> bytes | None:
        """Return all that is here, empty where that is nothing yet; None: what comes next has to be awaited."""
        return None

    def when_more(self, call: Callable[[], None] | None) -> bool:
        """Have `call` made whenever something may be at hand, or no more; return whether it will be."""
        return False


class Passing(Flowing):
    """Chunks made of those of others."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def at_hand(self) -> bytes | None:
        """Return what they have at hand."""
        chunks = self._chunks
        return chunks.at_hand() if isinstance(chunks, Flowing) else None

    def when_more(self, call: Callable[[], None] | None) -> bool:
        """Ask them to call."""
        chunks = self._chunks
        return isinstance(chunks, Flowing) and chunks.when_more(call)

    async def aclose(self) -> None:
        """Want no more."""
        await self._chunks.aclose()


class EngineCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one model version."""

    ref: str  # name@version
    path: str  # /v1/chat/completions, ...
    body: bytes
    stream: bool = False
    request_id: str = ""
    resume: bytes = b""  # how another engine may finish a stream, for engines of ours: JSON
    cache_salt: str = ""  # for engines of ours: whose prefixes, read before, this prompt may be found among
    replica: int = 0  # which of the engines of this version
    wait_s: float | None = None  # for an engine that is starting; None: as the pool is used to
    headers: tuple[tuple[str, str], ...] = ()  # sent on besides ours
    traffic: list[Traffic] = []  # gets one for each attempt, before anything of it is sent
    works: list[FarWork] = []  # gets one for each attempt at a server elsewhere whose energy is metered


class EngineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer; its body is whole, or still arriving."""

    status: int
    body: bytes | Chunks
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    engine: str = ""  # name of the engine that answered


class Watched(Passing):
    """Chunks that call `done` exactly once: at their end, when they fail, or when they are closed."""

    def __init__(self, chunks: Chunks, done: Callable[[], None]) -> None:
        super().__init__(chunks)
        self._done: Callable[[], None] | None = done

    async def __anext__(self) -> bytes:
        """Return some more bytes."""
        try:
            return await self._chunks.__anext__()
        except BaseException:
            self._finish()
            raise

    async def aclose(self) -> None:
        """Want no more."""
        try:
            await self._chunks.aclose()
        finally:
            self._finish()

    def _finish(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()
