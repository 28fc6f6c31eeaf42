"""Something that is read whole, and used while it is fresh. Knows nothing of what it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tokenworks.core.errors import TokenworksError

AHEAD = 0.6  # of its time: whoever asks later has it read anew beside
T = TypeVar("T")


class Renewed(Generic[T]):
    """What `read` returns in a thread, at most `fresh_s` old, and the same object for as long as it is equal.

    Belongs to one event loop. `now_s` is a clock that never runs backwards.
    """

    def __init__(self, read: Callable[[], T], *, fresh_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self.last: T | None = None  # what was read last, however old
        self._read = read
        self._fresh_s = fresh_s
        self._now_s = now_s
        self._read_s = float("-inf")
        self._reading = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None
        self._forgotten = 0  # what was read before then may lack what is known by now

    async def get(self) -> T:
        """Return it, read anew where it is too old; raise what `read` raises."""
        if self.last is None or self._now_s() - self._read_s >= self._fresh_s:
            async with self._reading:
                if self.last is None or self._now_s() - self._read_s >= self._fresh_s:
                    return await self._renewed()
        return self.last

    def at_hand(self) -> T | None:
        """Return it, None while it has to be read first; where that is soon, it is read while nobody waits for it."""
        age_s = self._now_s() - self._read_s
        if age_s >= self._fresh_s:
            return None
        if age_s >= self._fresh_s * AHEAD and self._renewal is None:
            self._renewal = asyncio.get_running_loop().create_task(self._renew())
        return self.last

    def forget(self) -> None:
        """Read it anew at the next question."""
        self._read_s = float("-inf")
        self._forgotten += 1

    async def _renew(self) -> None:
        """Read it anew; where that fails, whoever asks next is told."""
        try:
            async with self._reading:
                await self._renewed()
        except TokenworksError:
            pass
        finally:
            self._renewal = None

    async def _renewed(self) -> T:
        """Read; again where it was forgotten meanwhile, for what was read may be from before."""
        while True:
            forgotten = self._forgotten
            found = await asyncio.to_thread(self._read)
            if forgotten == self._forgotten:
                break
        if self.last is None or found != self.last:
            self.last = found
        self._read_s = self._now_s()
        return self.last
