"""Chunks that go from an engine to a caller as they come: read, passed through their layers and sent in one call.

A task that awaits each of them takes several times as long. It sleeps meanwhile, and is woken for all else: the end,
errors, a caller who reads too slowly, deadlines.
"""

from __future__ import annotations

import asyncio

from tokenworks.gateway.http.incoming import Incoming
from tokenworks.serving.answer import Flowing

Drained = asyncio.Future[None] | None


async def flow(chunks: Flowing, incoming: Incoming) -> None:
    """Send `chunks` to their end. An answer has begun, and is finished."""
    pump = Pump(chunks, incoming)
    while True:
        drained = await pump.run()
        incoming.flush()
        if drained is not None:
            await drained
        try:
            chunk = await chunks.__anext__()
        except StopAsyncIteration:
            incoming.finish()
            return
        if chunks.over:
            incoming.finish(chunk)
            return
        drained = incoming.write(chunk)
        if drained is not None:
            await drained


class Pump:
    """From `chunks` to `incoming`."""

    __slots__ = ("_chunks", "_incoming", "_stopped")

    def __init__(self, chunks: Flowing, incoming: Incoming) -> None:
        self._chunks = chunks
        self._incoming = incoming
        self._stopped: asyncio.Future[Drained]

    async def run(self) -> Drained:
        """Return when the next chunk has to be awaited, after what this returns."""
        if not self._chunks.when_more(self._called):
            return None
        self._stopped = asyncio.get_running_loop().create_future()
        try:
            quiet = 0  # a layer may keep all of what was there: only what is asked again tells that this was the end
            while not self._stopped.done() and quiet < 2:
                quiet = 0 if self._more() else quiet + 1
            if not self._stopped.done():
                self._incoming.flush()
            return await self._stopped
        finally:
            self._chunks.when_more(None)

    def _called(self) -> None:
        if not self._stopped.done():
            self._more()

    def _more(self) -> bool:
        """Send what is at hand; return whether that was anything."""
        try:
            chunk = self._chunks.at_hand()
        except Exception as error:  # noqa: BLE001  # whoever called is not to blame for it
            self._stopped.set_exception(error)
            return False
        if chunk:
            drained = self._incoming.write(chunk)
            if drained is not None:
                self._stopped.set_result(drained)
            return True
        if chunk is None:
            self._stopped.set_result(None)
        return False
