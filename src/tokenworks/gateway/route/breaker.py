"""A circuit breaker: whoever has failed again and again is left alone for a while, then asked once to see."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FAILURES = 3  # in a row open it
FIRST_PAUSE_S = 1.0  # doubles with each probe that fails
LONGEST_PAUSE_S = 60.0


class Breaker:
    """Closed, open, or half open: one probe at a time (Nygard 2007, Release It!).

    `now` gives monotonic seconds. Pauses are drawn between half and whole, so that probes of many do not come at once.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic, rng: random.Random | None = None) -> None:
        self._now = now
        self._rng = rng or random.Random()
        self._failures = 0
        self._opened = 0  # how often in a row
        self._until_s = 0.0
        self._probing = False

    @property
    def closed(self) -> bool:
        """Whether calls pass freely."""
        return self._opened == 0

    @property
    def wait_s(self) -> float:
        """Seconds until a call may pass, 0 where one may now."""
        if self.closed:
            return 0.0
        return max(0.0, self._until_s - self._now()) if not self._probing else FIRST_PAUSE_S

    def take(self) -> bool:
        """Return whether a call may pass; half open, only one until its end is told."""
        if self.closed:
            return True
        if self._probing or self._now() < self._until_s:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = self._opened = 0
        self._probing = False

    def failed(self, *, retry_after_s: float | None = None) -> None:
        """A call was not. `retry_after_s` is what the destination itself asks for: it opens at once, for so long."""
        self._failures += 1
        if retry_after_s is None and self._failures < FAILURES and self.closed:
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._opened) * self._rng.uniform(0.5, 1.0)
        self._opened += 1
        self._probing = False
        self._until_s = self._now() + (pause_s if retry_after_s is None else min(LONGEST_PAUSE_S, retry_after_s))

    def dropped(self) -> None:
        """A call ended without a word about the destination: its caller went."""
        self._probing = False
