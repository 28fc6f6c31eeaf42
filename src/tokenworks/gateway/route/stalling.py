"""A stream from a server elsewhere that falls silent ends with an error: nobody else can finish it.

A cable that is out tells nobody, so without this its callers would wait as long as anybody waits for a first byte.
"""

from __future__ import annotations

import asyncio
from typing import Self

from tokenworks.core.errors import EngineError
from tokenworks.serving.answer import Chunks


class Stalling:
    """Chunks with at most `stall_s` between two of them."""

    def __init__(self, chunks: Chunks, name: str, stall_s: float) -> None:
        self._chunks, self._name, self._stall_s = chunks, name, stall_s

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk; raise `EngineError` where none comes in time."""
        try:
            async with asyncio.timeout(self._stall_s):
                return await self._chunks.__anext__()
        except TimeoutError:
            await self._chunks.aclose()
            raise EngineError(f"{self._name} said nothing for {self._stall_s:g} s in the middle of a stream") from None

    async def aclose(self) -> None:
        """Want no more."""
        await self._chunks.aclose()
