"""Who holds a credential, kept while it is fresh and nobody changed access. Knows no kind of credential."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tokenworks.core.clock import Clock
from tokenworks.governance.principal import KeyRefusedError, Principal
from tokenworks.governance.renewing import AHEAD
from tokenworks.governance.stamp import LOOK_S

FRESH_S = 1.0
REMEMBERED = 4096


class Seen(NamedTuple):
    """What was found out about a credential."""

    until: float  # when it stops opening anything, in Unix seconds
    principal: Principal | None
    why: Callable[[float], str]  # why it opens nothing at a time


Find = Callable[[], Awaitable[Seen]]


class _Kept(NamedTuple):
    read_s: float  # monotonic
    found: Seen


class Remembering:
    """At most `REMEMBERED` findings, each for `fresh_s` seconds; all are forgotten when `generation` has risen."""

    def __init__(self, *, clock: Clock, fresh_s: float, generation: Callable[[], int]) -> None:
        self._clock = clock
        self._fresh_s = fresh_s
        self._generation = generation
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._reading: dict[tuple[int, str], asyncio.Task[Seen]] = {}
        self._forgotten = 0  # how often everything was; what was read before then is not kept
        self._looked_s, self._looked_at = float("-inf"), -1

    def __len__(self) -> int:
        return len(self._kept)

    async def holder(self, name: str, find: Find) -> Principal:
        """Return who holds the credential called `name`; raise `KeyRefusedError` saying why it opens nothing."""
        seen = self._get(name)
        if seen is None:
            seen = await asyncio.shield(self._begin(name, find))
        now = self._clock.now()
        if seen.principal is None or now >= seen.until:
            raise KeyRefusedError(seen.why(now))
        return seen.principal

    def at_hand(self, name: str, find: Find) -> Principal | None:
        """Return who holds it where that is remembered: the same object as long as it is.

        Where it soon will not be, it is found anew while nobody waits for it.
        """
        seen = self._get(name)
        if seen is None:
            return None
        if self._clock.monotonic() - self._kept[name].read_s > self._fresh_s * AHEAD:
            self._begin(name, find)
        return None if self._clock.now() >= seen.until else seen.principal

    def _get(self, name: str) -> Seen | None:
        """Return what is still fresh; look now and then whether somebody changed access."""
        now_s = self._clock.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            generation = self._generation()
            if generation != self._looked_at:
                self._looked_at = generation
                self.forget()
        kept = self._kept.get(name)
        return kept.found if kept is not None and now_s - kept.read_s < self._fresh_s else None

    @property
    def forgotten(self) -> int:
        """How often everything was forgotten, which rises at once where access is changed by this process."""
        return self._forgotten

    def _begin(self, name: str, find: Find) -> asyncio.Task[Seen]:
        """Return the search for it; those who wait for the same share one."""
        which = (self._forgotten, name)
        task = self._reading.get(which)
        if task is None:
            task = self._reading[which] = asyncio.get_running_loop().create_task(self._find(which, find))
            task.add_done_callback(lambda done: self._found(which, done))
        return task

    def _found(self, which: tuple[int, str], task: asyncio.Task[Seen]) -> None:
        self._reading.pop(which, None)
        if not task.cancelled():
            task.exception()  # told to those who wait; where nobody does, whoever asks next finds out

    def forget(self) -> None:
        """Find everything anew from now on."""
        self._kept.clear()
        self._forgotten += 1

    async def _find(self, which: tuple[int, str], find: Find) -> Seen:
        forgotten, name = which
        read_s = self._clock.monotonic()
        found = await find()
        if forgotten == self._forgotten:
            self._kept[name] = _Kept(read_s, found)
            self._kept.move_to_end(name)
            if len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
        return found
