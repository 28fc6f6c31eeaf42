"""Reads the meter again and again, tells every engine what a second costs, and sums up for the ledger."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from tokenworks.ledger.entries import EnergyEntry
from tokenworks.metering.attribution.books import EngineBook
from tokenworks.metering.attribution.dividing import Used, divide
from tokenworks.metering.attribution.page import SUFFIX, Page, Told, Worked, open_page
from tokenworks.metering.integral import Span
from tokenworks.metering.opening import Meter, Metered
from tokenworks.metering.processor import busy_core_s, process_core_s

PATIENCE = 3.0  # readings that may fail before requests are no longer given what is foreseen


class _Sums(msgspec.Struct, kw_only=True):
    """What an entry says, while it grows."""

    seconds: float = 0.0
    metered_j: float = 0.0
    requests_j: float = 0.0
    idle_j: float = 0.0
    other_j: float = 0.0
    untold_j: float = 0.0
    engine_s: float = 0.0
    gap_s: float = 0.0
    because: str = ""
    error_j: float = 0.0  # sources err by the same factor from span to span: added up, not in quadrature


class Meterer:
    """Belongs to one thread. `folder` is where engines put their pages, `serving` says who serves besides them."""

    def __init__(
        self,
        meter: Meter,
        folder: Path,
        *,
        interval_s: float,
        serving: Callable[[], Iterable[int]] = lambda: (os.getpid(),),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter, self._folder, self._serving, self._clock = meter, folder, serving, clock
        self._patience_s = PATIENCE * interval_s
        self._engines: dict[Path, tuple[Page, EngineBook]] = {}
        self._sums = _Sums()
        self._machine_core_s, self._serving_core_s = busy_core_s(), self._served()
        self.trouble = ""  # why the last reading gave nothing
        self.watts = math.nan  # of the last span
        meter.read()
        self._until_s = clock()  # of what was metered, or is a gap
        self._look()
        for path, (page, _) in list(self._engines.items()):  # what they did before is not ours to tell
            self._engines[path] = page, EngineBook(page.worked(), process_core_s(int(page.worked().pid)) or 0.0)
        self._bury()

    def turn(self) -> None:
        """Read once."""
        metered = self._meter.read()
        now_s = self._clock()
        self.trouble = self._meter.trouble
        if self.trouble:
            return
        if metered is None:  # the meter has not moved yet: what is foreseen holds on
            for page, book in self._engines.values():
                if book.recent_w > 0:
                    page.tell(self._told(book, now_s)._replace(settled_w=-1.0))
            return
        self._look()
        self._close(metered, now_s)
        self._bury()

    def entry(self, at: float) -> EnergyEntry:
        """Return what was metered since the last entry."""
        sums, self._sums = self._sums, _Sums()
        waiting_s = self._clock() - self._until_s
        return EnergyEntry(
            at=at,
            meter=self._meter.grade,
            source="+".join(self._meter.sources),
            seconds=sums.seconds,
            metered_j=sums.metered_j,
            requests_j=sums.requests_j,
            idle_j=sums.idle_j,
            other_j=sums.other_j,
            untold_j=sums.untold_j,
            carried_j=sum((book.carried_j for _, book in self._engines.values()), 0.0),
            engine_s=sums.engine_s,
            error=sums.error_j / sums.metered_j if sums.metered_j else 0.0,
            gap_s=sums.gap_s,
            waiting_s=waiting_s if waiting_s > self._patience_s else 0.0,
            because=(sums.because or self.trouble)[:300],
        )

    def close(self) -> None:
        """Read a last time and let go of everything; what is due to the requests of ended engines is in vain."""
        self.turn()
        self._bury()
        for page, _ in self._engines.values():
            page.close()
        self._engines.clear()
        self._meter.close()

    # -- one span

    def _close(self, metered: Metered, now_s: float) -> None:
        worked = {path: page.worked() for path, (page, _) in self._engines.items()}
        used = self._used(worked, now_s)
        machine_core_s, serving_core_s = busy_core_s(), self._served()
        self._sums.engine_s += sum(one.busy_s for one in used.values())
        self._sums.untold_j += sum(worked[path].untold_j - book.last.untold_j for path, (_, book) in self._books())
        if metered.span.joules is None:
            self._close_gap(metered.span, worked, now_s)
        else:
            division = divide(
                metered,
                {str(path): one for path, one in used.items()},
                idle_w=self._meter.idle_w,
                machine_core_s=machine_core_s - self._machine_core_s,
                serving_core_s=max(serving_core_s - self._serving_core_s, 0.0),
            )
            sums, joules = self._sums, metered.span.joules
            sums.seconds += metered.span.seconds
            sums.metered_j += joules
            sums.error_j += joules * metered.error
            sums.idle_j += division.idle_j
            sums.other_j += division.other_j
            sums.requests_j += sum(division.due_j.values())
            self.watts = joules / metered.span.seconds
            for path, (_, book) in self._books():
                lapsed_before_j = book.lapsed_j
                book.close(worked[path], now_s, division.due_j[str(path)])
                sums.untold_j += book.lapsed_j - lapsed_before_j
        self._until_s = metered.span.ended_s
        self._machine_core_s, self._serving_core_s = machine_core_s, serving_core_s
        for page, book in self._engines.values():
            page.tell(self._told(book, now_s))

    def _close_gap(self, span: Span, worked: dict[Path, Worked], now_s: float) -> None:
        self._sums.gap_s += span.seconds
        self._sums.because = self._sums.because or span.because
        self.trouble, self.watts = span.because, math.nan
        for path, (_, book) in self._books():
            self._sums.untold_j += book.close_gap(worked[path], now_s)

    def _used(self, worked: dict[Path, Worked], now_s: float) -> dict[Path, Used]:
        found = {}
        for path, (_, book) in self._books():
            core_s = process_core_s(int(worked[path].pid))
            core_s = book.core_s if core_s is None else core_s
            found[path] = Used(book.busy_s(worked[path], now_s), max(core_s - book.core_s, 0.0))
            book.core_s = core_s
        return found

    def _told(self, book: EngineBook, now_s: float) -> Told:
        return book.told(error=self._meter.error, grade=self._meter.grade, until_s=now_s + self._patience_s)

    def _books(self) -> Iterable[tuple[Path, tuple[Page, EngineBook]]]:
        return self._engines.items()

    def _served(self) -> float:
        return sum(process_core_s(pid) or 0.0 for pid in self._serving())

    # -- engines come and go

    def _look(self) -> None:
        """Take in the pages of new engines: all that they have done was done since the last span."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path not in self._engines:
                page = open_page(path)
                self._engines[path] = page, EngineBook(Worked())

    def _bury(self) -> None:
        """Take away the pages of engines that have ended: what is due to them nobody will be given any more."""
        for path, (page, book) in list(self._engines.items()):
            if page.left:
                worked = page.worked()
                self._sums.untold_j += worked.untold_j - book.last.untold_j + book.end(worked)
                page.close()
                path.unlink(missing_ok=True)
                del self._engines[path]
