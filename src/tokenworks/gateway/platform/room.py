"""How many lines of batches are asked at once: few while anybody else asks, many else. Knows no batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK_S = 0.02  # how often a line that gives way looks whether the others are gone: nobody tells it


class Room:
    """Belongs to one event loop. `in_flight` says how many requests are under way, lines included."""

    def __init__(self, in_flight: Callable[[], int], concurrency: int) -> None:
        self._in_flight, self._concurrency = in_flight, concurrency
        self._asking = 0
        self._left = asyncio.Event()

    async def enter(self) -> None:
        """Wait until another line may be asked, and count it as asked."""
        while self._asking >= (1 if self._in_flight() > self._asking else self._concurrency):
            self._left.clear()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._left.wait()
            except TimeoutError:
                continue
        self._asking += 1

    def leave(self) -> None:
        """A line has its answer: the next may be asked at once, before this one is written."""
        self._asking -= 1
        self._left.set()
