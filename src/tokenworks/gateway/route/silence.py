"""How long a stream has said nothing while nobody awaits its next chunk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

Call = Callable[[], None]


class Silence:
    """At most `longest_s` of it. Between two chunks no timer is set: the one there is looks when it is due."""

    __slots__ = ("_call", "_heard_s", "_over", "_timer", "longest_s")

    def __init__(self, longest_s: float) -> None:
        self.longest_s = longest_s
        self._heard_s = 0.0
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._call: Call | None = None

    def watch(self, call: Call | None) -> None:
        """Make `call` once it has lasted too long; None: watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._call = call
        if call is not None:
            self._heard_s = time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(self.longest_s, self._look)

    def told(self, chunk: bytes | None) -> bytes | None:
        """Return `chunk`, heard now; None in place of nothing at all that has lasted too long."""
        if chunk:
            self._heard_s = time.monotonic()
        elif self._over:
            return None
        return chunk

    def left_s(self) -> float:
        """Return how long the next chunk may be awaited: not at all, once, after a silence that was too long."""
        over, self._over = self._over, False
        return 0.0 if over else self.longest_s

    def _look(self) -> None:
        left_s = self._heard_s + self.longest_s - time.monotonic()
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._look)
            return
        self._timer, self._over = None, True
        if self._call is not None:
            self._call()
