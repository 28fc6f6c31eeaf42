"""Looks at a server's counters and its host's meter again and again, tells gateways what time costs, and sums up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from tokenworks.ledger.entries import FarEnergyEntry
from tokenworks.metering.attribution.coarse.counters import Counters, Moved, moved
from tokenworks.metering.attribution.coarse.host import HostModel
from tokenworks.metering.attribution.coarse.interval import Interval, Request
from tokenworks.metering.attribution.coarse.learning import IntervalCosts
from tokenworks.metering.attribution.coarse.moments import share_moments
from tokenworks.metering.attribution.coarse.rates import FILE, Rates, RatesFile
from tokenworks.metering.attribution.coarse.slots import SUFFIX, Slots, Taken, open_slots
from tokenworks.metering.attribution.coarse.telling import Teller
from tokenworks.metering.attribution.coarse.window import Settled, Window
from tokenworks.metering.opening import Meter, Metered
from tokenworks.metering.source import MeterError, coarse

PATIENCE = 3.0  # intervals without a look, until requests are no longer given what is foreseen
WHOLE = 0.98  # of an interval with a request under way, that is called busy


class CountersPage(Protocol):
    """Where a server's counters are read."""

    def read(self) -> Counters:
        """Return them; raise `MeterError` where they cannot be had."""
        ...


class FarMeterer:
    """Belongs to one thread. `folder` is where gateways put their slots; `name` is what the ledger calls the server."""

    def __init__(
        self,
        name: str,
        page: CountersPage,
        meter: Meter,
        folder: Path,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
        teller: Teller | None = None,
    ) -> None:
        self.name, self.trouble = name, ""
        self._page, self._meter, self._folder, self._clock = page, meter, folder, clock
        self._patience_s = PATIENCE * interval_s
        self._rates = RatesFile(folder / FILE)
        self._rates.tell(Rates())  # what a former server said is over
        self._slots: dict[Path, Slots] = {}
        self._late: list[Taken] = []  # ended, and after the last look
        self._running: list[Taken] = []
        self._costs, self._teller = IntervalCosts(), teller or Teller()
        self._open: list[Interval] = []  # their joules are not known yet
        self._last: Counters | None = None
        self._moved = Moved()  # since the last interval was closed
        self._excess = 0.0  # at its end
        self._meter.read()
        self._until_s = clock()
        self._window = Window(self._until_s)

    def turn(self) -> None:
        """Look once."""
        self._collect()
        try:
            counters = self._page.read()
        except MeterError as error:
            self.trouble = str(error)
            return
        now_s = self._clock()
        if self._last is None:  # what was before the first look nobody can divide
            self._begin(counters, now_s)
            return
        if now_s <= self._until_s:
            return
        self._moved = self._moved.plus(moved(self._last, counters))
        self._last = counters
        taken = [one for one in self._late if one.ended_s <= now_s]
        under_way = self._running + [one for one in self._late if one.ended_s > now_s]
        excess = max(counters.running - len(under_way), 0.0)
        busy_s = self._busy_s([*taken, *under_way], now_s, (self._excess + excess) / 2)
        model = next((one for one in self._meter.sources.values() if isinstance(one, HostModel)), None)
        before_s = model.busy_s if model else 0.0
        if model:
            model.busy_s += busy_s
        metered = self._meter.read()
        self.trouble = self._meter.trouble
        if self.trouble:
            if model:
                model.busy_s = before_s
            return
        self._close(metered, now_s, busy_s, excess, taken, under_way)

    def entry(self, at: float) -> FarEnergyEntry:
        """Return what was settled since the last entry."""
        sums, self._window.sums = self._window.sums, Settled()
        return FarEnergyEntry(
            at=at,
            server=self.name,
            meter=coarse(self._meter.grade),
            source="+".join(self._meter.sources),
            seconds=sums.seconds,
            metered_j=sums.metered_j,
            requests_j=sums.requests_j,
            foreign_j=sums.foreign_j,
            idle_j=sums.idle_j,
            other_j=sums.other_j,
            untold_j=sums.untold_j,
            carried_j=self._teller.carried_j + sum(one.due_j for one in self._window.ended),
            engine_s=sums.engine_s,
            foreign_s=sums.foreign_s,
            prompt_tokens=round(sums.prompt_tokens),
            completion_tokens=round(sums.generated_tokens),
            foreign_prompt_tokens=round(sums.foreign_prompt),
            foreign_completion_tokens=round(sums.foreign_generated),
            error=sums.error_j / sums.metered_j if sums.metered_j else 0.0,
            gap_s=sums.gap_s,
            waiting_s=max(self._clock() - self._window.until_s, 0.0),
            because=(sums.because or self.trouble)[:300],
        )

    def close(self) -> None:
        """Look a last time, settle what is there, and let go of everything."""
        self.turn()
        self._collect()
        for one in self._open:
            one.pending, one.because = False, "the meter had not moved at the end"
        self._finish(self._window.finish())
        for slots in self._slots.values():
            slots.close()
        for path, slots in self._slots.items():
            if slots.left:
                path.unlink(missing_ok=True)
        self._rates.close()
        self._meter.close()

    # -- one interval

    def _begin(self, counters: Counters, now_s: float) -> None:
        self._last, self._until_s, self._late = counters, now_s, []
        self._excess = max(counters.running - len(self._running), 0.0)
        self._window = Window(now_s)
        self._meter.read()
        self.trouble = self._meter.trouble

    def _close(
        self,
        metered: Metered | None,
        now_s: float,
        busy_s: float,
        excess: float,
        taken: Sequence[Taken],
        under_way: Sequence[Taken],
    ) -> None:
        """Close an interval. A meter that has not moved (`metered` is None) says later what it took."""
        interval = Interval(
            began_s=self._until_s,
            ended_s=now_s,
            moved=self._moved,
            busy_s=busy_s,
            excess=(self._excess + excess) / 2,
            joules=None,
            because="the server's counters began anew" if self._moved.anew else "",
            pending=True,
            costs=self._costs.known,
        )
        alone = not interval.excess and not self._moved.anew  # then our requests say how long it was busy
        if busy_s >= WHOLE * interval.seconds or (alone and (taken or under_way)):
            self._costs.learn(self._moved, busy_s)
        times = [(one.began_s, one.ended_s or math.inf) for one in [*taken, *under_way]]
        moments = share_moments(interval.began_s, now_s, times, interval.excess)
        present_s = sum(interval.present_s(one) for one in [*taken, *under_way]) + interval.excess * interval.seconds
        self._window.close(interval, taken, self._costs.known, interval.step_s)
        self._late = [one for one in self._late if one.ended_s > now_s]
        self._until_s, self._moved, self._excess = now_s, Moved(), excess
        self._open.append(interval)
        until_s = now_s + self._patience_s
        if metered is not None:
            self._fill(metered)
            if metered.span.joules is None:
                self.trouble = metered.span.because
                until_s = min(until_s, self._teller.rates.until_s)  # what is foreseen holds as long as it would have
        self._finish(self._window.settle(under_way))
        told = self._teller.told(
            interval, present_s, moments, self._meter.error, grade=coarse(self._meter.grade), until_s=until_s
        )
        self._rates.tell(told, moments)

    def _fill(self, metered: Metered) -> None:
        """Divide what was metered over the intervals that it is of: idle by idle time, the rest by busy time."""
        every, self._open = self._open, []
        seconds, busy_s = sum(one.seconds for one in every), sum(one.busy_s for one in every)
        joules = metered.span.joules
        for one in every:
            one.pending, one.because = False, metered.span.because or one.because
        if joules is None:
            return
        idle_j, other_j = _divided(joules, seconds, busy_s, self._meter.idle_w)
        active_j, idle_s = joules - idle_j - other_j, seconds - busy_s
        for one in every:
            one.idle_j = idle_j * (one.seconds - one.busy_s) / idle_s if idle_s > 0 else idle_j * one.seconds / seconds
            one.other_j = other_j * one.seconds / seconds
            one.joules = one.idle_j + one.other_j + (active_j * one.busy_s / busy_s if busy_s > 0 else 0.0)
            one.error = metered.error
        self._teller.take(active_j, busy_s)

    def _finish(self, done: Sequence[Request]) -> None:
        self._window.sums.untold_j += sum(map(self._teller.finish, done))

    def _busy_s(self, own: Sequence[Taken], now_s: float, excess: float) -> float:
        """Return how long the engine was busy since the last interval.

        While a request of ours is under way it is. Others are seen at the looks alone: what they had of the time is
        what such work takes, as far as that was learned.
        """
        seconds = now_s - self._until_s
        ours_s = _covered_s(own, self._until_s, now_s)
        working = self._moved.generated > 0 or self._moved.prompt > 0
        if ours_s >= seconds or (not excess and (ours_s > 0 or not working)):
            return min(ours_s, seconds)
        learned_s = self._costs.busy_s(self._moved)
        others_s = learned_s if learned_s > 0 else seconds * (min(excess, 1.0) or 0.5)
        return min(max(ours_s, others_s), seconds)

    # -- gateways come and go

    def _collect(self) -> None:
        """Take in what has ended, and what is under way."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path not in self._slots:
                self._slots[path] = open_slots(path)
        self._running = []
        for path, slots in list(self._slots.items()):
            left = slots.left  # asked first: who has left writes nothing any more
            self._late += slots.collect()
            running = list(slots.running())
            if not left:
                self._running += running
                continue
            self._late += [one._replace(ended_s=self._clock()) for one in running]
            slots.close()
            path.unlink(missing_ok=True)
            del self._slots[path]


def _divided(joules: float, seconds: float, busy_s: float, idle_w: float) -> tuple[float, float]:
    """Return what of a host's joules was idle, and what was drawn above that with nothing to do."""
    idle_s = seconds - busy_s
    idle_j = min(joules, idle_w * idle_s) if idle_w else joules * idle_s / seconds
    return idle_j, (joules - idle_j if busy_s <= 0 else 0.0)


def _covered_s(own: Sequence[Taken], began_s: float, ended_s: float) -> float:
    """Return for how long at least one of `own` was under way."""
    covered_s, until_s = 0.0, began_s
    for one in sorted(own, key=lambda taken: taken.began_s):
        begin_s, end_s = max(one.began_s, until_s), min(one.ended_s or math.inf, ended_s)
        if end_s > begin_s:
            covered_s += end_s - begin_s
            until_s = end_s
    return covered_s
