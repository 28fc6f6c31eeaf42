"""What each request took of one engine, step by step, in seconds and, where somebody meters, in joules.

Steps may run in another thread than the one that answers.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenworks.core.usage import Spent
from tokenworks.metering.attribution.page import Page, Told, Worked, new_page
from tokenworks.metering.attribution.timeline import Timeline

GAP = "gap"  # the grade of a meter that says nothing
HELD = 8  # steps that are split together at most; so far may lag what is told of an answer under way

Split = Callable[[Sequence[float]], Sequence[tuple["Work", float]]]


class Work:
    """One request's share. `tell` and `close` are for whoever answers it."""

    __slots__ = ("_open", "_told_j", "account", "engine_s", "joules", "lost", "pending_s", "timeline")

    def __init__(self, account: Account, timeline: Timeline | None = None) -> None:
        self.account = account
        self.timeline = timeline  # of a request that is traced
        self.engine_s = 0.0
        self.joules = 0.0  # of steps whose energy was metered since
        self.pending_s = 0.0  # of engine time that waits for that
        self.lost = False  # whether some of it fell into a gap
        self._open = True
        self._told_j = 0.0

    def tell(self) -> Spent:
        """Return what was spent so far, to be passed on to the caller: from now on that much is told."""
        return self.account.spent(self)

    def close(self) -> None:
        """Take no more: what was not told until now was in vain."""
        self.account.end(self)


class Account:
    """The works of one engine. Without `page` nobody meters: seconds are counted, joules are not known."""

    def __init__(self, page: Page | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._page, self._clock = page, clock
        self._lock = threading.Lock()
        self._works: set[Work] = set()
        self._told = page.told() if page else Told()
        self._pid = float(os.getpid())
        self._busy_s = self._began_s = self._given_j = self._untold_j = self._lapsed_s = 0.0
        self._done_s = 0.0
        self._held: list[float] = []  # seconds of steps that are not split yet
        self._split: Split

    def begin(self, timeline: Timeline | None = None) -> Work:
        """Return the work of another request; `timeline` is told when its steps were."""
        work = Work(self, timeline)
        if self._page is not None:
            self._works.add(work)
        return work

    def enter(self) -> float:
        """A step begins; return when, for `leave`."""
        now_s = self._clock()
        if self._page is not None:
            with self._lock:
                self._began_s = now_s
                self._page.begin(now_s)
        return now_s

    def leave(self, began_s: float, shares: Callable[[float], Sequence[tuple[Work, float]]]) -> None:
        """The step that began at `began_s` has ended; `shares` splits its seconds among works."""
        seconds = self._clock() - began_s
        with self._lock:
            if self._page is not None:
                self._settle(self._page)  # first: this step is of the span that is under way
            self._share_held()
            self._share(shares(seconds))
            self._pass(seconds)

    def hold(self, began_s: float, shares: Split) -> float:
        """End a step like `leave`, but split its seconds later, with those after it; return when it ended.

        Splitting touches the state of every member, which a step of the engine has driven out of the processor's
        caches: for several steps at once it costs little more than for one.
        """
        seconds = self._clock() - began_s
        with self._lock:
            if self._page is not None:
                self._settle(self._page)
            self._held.append(seconds)
            self._split = shares
            self._pass(seconds)
            if len(self._held) >= HELD:
                self._share_held()
        return began_s + seconds

    def share_held(self) -> None:
        """Split what is held now: before anybody comes or goes."""
        with self._lock:
            self._share_held()

    def spent(self, work: Work) -> Spent:
        """Return what `work` took so far, and remember that it was told."""
        if self._page is None:
            return Spent(engine_s=work.engine_s)
        with self._lock:
            self._settle(self._page)
            told = self._told
            if work.lost or not self._valid:
                return Spent(engine_s=work.engine_s, meter=GAP)
            work._told_j = joules = work.joules + work.pending_s * told.ahead_w
            foreseen = work.pending_s * told.ahead_w / joules if joules else 0.0
            error = math.hypot(told.error, told.spread * foreseen)
            return Spent(engine_s=work.engine_s, joules=joules, joules_error=error, meter=told.grade)

    def end(self, work: Work) -> None:
        """Give what is left of `work` its joules, as they are foreseen."""
        with self._lock:
            if not work._open:
                return
            work._open = False
            self._works.discard(work)
            if self._page is not None:
                self._settle(self._page)
                self._give_up(work)
                self._say(self._page)

    def close(self) -> None:
        """The engine ends."""
        if self._page is not None:
            self._page.close()
            self._page = None

    @property
    def _valid(self) -> bool:
        """Whether somebody knows what a second costs now."""
        return self._told.number > 0 and self._clock() <= self._told.until_s

    def _give_up(self, work: Work) -> None:
        """Close the books of a work that has ended: what is pending is given as foreseen, or known by nobody."""
        if self._valid and not work.lost:
            more_j = work.pending_s * self._told.ahead_w
            self._given_j += more_j
            work.joules += more_j
        else:
            self._lapsed_s += work.pending_s
            work._told_j = 0.0
        self._done_s += work.pending_s
        work.pending_s = 0.0
        self._untold_j += work.joules - work._told_j
        work._told_j = work.joules

    def _share_held(self) -> None:
        held, self._held = self._held, []
        if held:
            self._share(self._split(held))

    def _share(self, shares: Sequence[tuple[Work, float]]) -> None:
        for work, share_s in shares:
            work.engine_s += share_s
            work.pending_s += share_s
            if not work._open:
                self._give_up(work)

    def _pass(self, seconds: float) -> None:
        """A step of `seconds` is over."""
        if self._page is not None:
            self._busy_s += seconds
            self._began_s = 0.0
            self._say(self._page)

    def _settle(self, page: Page) -> None:
        """Give the works under way what the last span has turned out to cost."""
        if page.number == self._told.number:
            return
        self._share_held()  # of the span that has ended
        self._told = told = page.told()
        if told.settled_w < 0:  # nothing new, but that the meter lives
            return
        for work in self._works:
            if math.isnan(told.settled_w):
                work.lost = work.lost or work.pending_s > 0
            else:
                more_j = work.pending_s * told.settled_w
                self._given_j += more_j
                work.joules += more_j
            self._done_s += work.pending_s
            work.pending_s = 0.0

    def _say(self, page: Page) -> None:
        page.work(
            Worked(self._pid, self._busy_s, self._began_s, self._given_j, self._untold_j, self._lapsed_s, self._done_s)
        )


def open_account(folder: str) -> Account:
    """Return the account of this process, with a page in `folder` for whoever meters; empty: nobody does."""
    return Account(new_page(Path(folder)) if folder else None)
