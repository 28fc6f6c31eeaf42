"""A stream from a server elsewhere that falls silent ends with an error: nobody else can finish it.

A cable that is out tells nobody, so without this its callers would wait as long as anybody waits for a first byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tokenworks.core.errors import EngineError
from tokenworks.gateway.route.silence import Silence
from tokenworks.serving.answer import Chunks, Passing


class Stalling(Passing):
    """Chunks with at most `stall_s` between two of them."""

    def __init__(self, chunks: Chunks, name: str, stall_s: float) -> None:
        super().__init__(chunks)
        self._name, self._stall_s = name, stall_s
        self._silence = Silence(stall_s)

    def at_hand(self) -> bytes | None:
        """Return what is here; None where it has been nothing for too long."""
        return self._silence.told(super().at_hand())

    def when_more(self, call: Callable[[], None] | None) -> bool:
        """Have `call` made at the end of a silence too."""
        calls = super().when_more(call)
        self._silence.watch(call if calls else None)
        return calls

    async def __anext__(self) -> bytes:
        """Return the next chunk; raise `EngineError` where none comes in time."""
        try:
            async with asyncio.timeout(self._silence.left_s()):
                return await self._chunks.__anext__()
        except TimeoutError:
            await self._chunks.aclose()
            raise EngineError(f"{self._name} said nothing for {self._stall_s:g} s in the middle of a stream") from None
