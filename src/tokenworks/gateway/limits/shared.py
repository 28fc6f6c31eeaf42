"""Counters shared by several gateways through a book: one call under way at a time, everything that waits goes along.

A gateway that cannot reach the book refuses what is limited with 503: it fails closed. What requests hold and what was
spent is known here as well, so that a book that was lost is filled again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from tokenworks.core.ids import new_id
from tokenworks.gateway.errors import ApiError, unavailable
from tokenworks.gateway.limits.book import Ask, Beat, Book, End, Given, Join, Part, Told, Work
from tokenworks.gateway.limits.claims import Claim, Standing, Verdict
from tokenworks.gateway.limits.names import is_current, is_requests, named, part_of
from tokenworks.governance.limits import Subject

LEASE_S = 5.0  # a gateway that is silent for so long is dead
BEAT_S = 0.25
GRACE_S = 2 * BEAT_S  # in which every living member has noticed that the book was lost
LOOK_S = 1.0  # how often it is looked for what was spent while no budget of it was in force: as often as for limits
Known = Callable[[str, str, Subject], dict[str, int]]  # (kind, window, subject): ledger log -> what was spent
log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Asked:
    claims: Sequence[Claim]
    parts: tuple[Part, ...]
    verdict: asyncio.Future[Verdict]


class SharedCounters:
    """Counters behind `book`. `known` says what each ledger log that this process can read has for a budget.

    `log` is the one that it writes: whoever writes it next tells what it came to.
    """

    def __init__(
        self,
        book: Book,
        known: Known,
        *,
        lease_s: float = LEASE_S,
        beat_s: float = BEAT_S,
        grace_s: float = GRACE_S,
        look_s: float = LOOK_S,
        log: str = "",
    ) -> None:
        self._book = book
        self._known = known
        self._lease_s = lease_s
        self._beat_s = beat_s
        self._grace_s = grace_s
        self._look_s = look_s
        self._log = log
        self._member = ""  # empty: joins before anything else
        self._before = ""
        self._closing = False
        self._away = ""  # why the book cannot be reached
        self._seen = 0
        self._told: Told = {}  # the sums that the book has of us
        self._due: set[str] = set()  # those of which it wants them
        self.held: dict[str, int] = {}
        self._asked: list[_Asked] = []
        self._ends: list[End] = []
        self._ended: list[asyncio.Future[None]] = []
        self._beat_at = self._look_at = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Be a member from now on, on the running loop: others learn what was spent here."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="shared counters")

    async def take(self, claims: Sequence[Claim]) -> Verdict:
        """Grant all of `claims`, or none and say why; raise 503 where the book cannot be reached."""
        if self._closing:
            raise _unreachable(OSError("this gateway is closing"))
        self.begin()
        parts = tuple(part_of(claim) for claim in claims)
        asked = _Asked(claims, parts, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._wake.set()
        try:
            return await asked.verdict
        except asyncio.CancelledError:
            if _granted(asked.verdict):
                self._end(parts, 0)
            raise

    async def settle(self, claims: Sequence[Claim], tokens: int) -> None:
        """Give back what was held and tell what was spent; return when the book knows, or cannot be reached."""
        if self._closing:  # the lease ends with us
            return
        parts = tuple(part_of(claim) for claim in claims)
        self._end(parts, tokens)
        if all(is_requests(part) for part in parts):  # the book has nothing to be told
            return
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended.append(ended)
        await ended

    async def close(self) -> None:
        """Give everything back, and go."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        with contextlib.suppress(OSError):  # then the lease lapses
            await self._book.leave(self._member)
        await self._book.close()

    # -- one after the other

    async def _run(self) -> None:
        while not self._closing or self._ends:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._beat_at - time.monotonic())):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._step()
            except OSError as error:
                self._lose(error)
            except Exception as error:  # the border of this task: nobody may be left waiting
                log.exception("shared counters failed")
                self._lose(OSError(f"the counters failed: {error}"))
        self._fail(OSError("this gateway is closing"))

    async def _step(self) -> None:
        if not self._member:
            await self._join()
        if self._asked or self._ends:
            await self._work()
        if self._member and time.monotonic() >= self._beat_at:
            await self._beat()

    async def _join(self) -> None:
        """Come, or come back, with all that is held and known here; what ended meanwhile is no part of it."""
        member = new_id("gw")
        ended = self._take_ends()[1]
        held = {name: amount for name, amount in self.held.items() if amount}
        told = {name: self._sums(name) for name in self._told.keys() | self._due}
        await self._book.join(Join(member, self._before, self._lease_s, self._grace_s, held, told, self._log))
        self._member = self._before = member
        self._seen, self._beat_at = 0, 0.0
        self._told = told
        self._due.clear()
        _resolve(ended)
        if self._away:
            log.info("shared counters answer again")
            self._away = ""

    async def _beat(self) -> None:
        told = self._news(self._due | self._looked_for())
        heard = await self._book.beat(Beat(self._member, self._lease_s, self._seen, told))
        if not heard.known:
            self._member = ""
            self._wake.set()
            return
        self._told |= told
        self._due = {name for name in heard.names if is_current(name)} - self._told.keys()
        self._seen = heard.seen
        self._beat_at = 0.0 if self._due else time.monotonic() + self._beat_s

    async def _work(self) -> None:
        asked, self._asked = self._asked, []
        ends, ended = self._take_ends()
        groups: dict[tuple[Part, ...], list[_Asked]] = {}
        for one in asked:
            if not one.verdict.done():
                groups.setdefault(one.parts, []).append(one)
        wanted = {part.name for parts in groups for part in parts if part.kind == "budget"}
        told = self._news(wanted | {end.part.name for end in ends if end.part.kind == "budget"})
        asks = tuple(Ask(len(many), parts) for parts, many in groups.items())
        try:
            worked = await self._book.work(Work(self._member, told, tuple(ends), asks))
        except OSError:
            self._asked = asked + self._asked
            _resolve(ended)
            raise
        _resolve(ended)
        if not worked.known:  # what has ended is no longer held here, and so not when we come back
            self._member, self._asked = "", asked + self._asked
            self._wake.set()
            return
        self._told |= told
        for many, given in zip(groups.values(), worked.given, strict=True):
            self._spread(many, given)

    def _spread(self, many: list[_Asked], given: Sequence[Given]) -> None:
        """Tell those who asked; the last answer is that of all who got none of their own."""
        for number, one in enumerate(many):
            found = given[min(number, len(given) - 1)]
            if found.granted:
                for part in one.parts:
                    if part.kind != "rate":
                        self.held[part.name] = self.held.get(part.name, 0) + part.amount
            if not one.verdict.done():
                one.verdict.set_result(_verdict(one.claims, found))
            elif found.granted:
                self._end(one.parts, 0)

    def _end(self, parts: tuple[Part, ...], tokens: int) -> None:
        for part in parts:
            if part.kind != "rate":
                left = self.held.get(part.name, 0) - part.amount
                if left > 0:
                    self.held[part.name] = left
                else:
                    self.held.pop(part.name, None)
            if not is_requests(part):
                self._ends.append(End(part, tokens))
        self._wake.set()

    def _take_ends(self) -> tuple[list[End], list[asyncio.Future[None]]]:
        ends, self._ends = self._ends, []
        ended, self._ended = self._ended, []
        return ends, ended

    def _lose(self, error: OSError) -> None:
        if not self._away:
            log.warning("shared counters cannot be reached: what is limited is refused", error=str(error))
        self._away = str(error)
        self._member = ""
        self._beat_at = time.monotonic() + self._beat_s
        self._fail(error)

    def _fail(self, error: OSError) -> None:
        asked, self._asked = self._asked, []
        for one in asked:
            if not one.verdict.done():
                one.verdict.set_exception(_unreachable(error))
        _resolve(self._take_ends()[1])

    def _looked_for(self) -> set[str]:
        """Return what was told, from time to time: a request that began before its limit was set claims nothing."""
        if time.monotonic() < self._look_at:
            return set()
        self._look_at = time.monotonic() + self._look_s
        self._told = {name: sums for name, sums in self._told.items() if is_current(name)}
        return set(self._told)

    def _news(self, names: set[str]) -> Told:
        """Return the sums of `names` that the book does not have yet."""
        sums = {name: self._sums(name) for name in names}
        return {name: of for name, of in sums.items() if of != self._told.get(name)}

    def _sums(self, name: str) -> dict[str, int]:
        kind, window, subject = named(name)
        return self._known(kind, window, subject)


def _verdict(claims: Sequence[Claim], given: Given) -> Verdict:
    if given.granted:
        standings = tuple(_standing(claim, *left) for claim, left in zip(claims, given.left, strict=True))
        return Verdict(granted=True, standings=standings)
    blocked = _standing(claims[given.blocked], *given.left[0])
    retry_s = given.retry_s if given.retry_s >= 0 else None
    return Verdict(granted=False, standings=(blocked,), blocked=blocked, retry_s=retry_s, later=given.later)


def _standing(claim: Claim, remaining: float, reset_s: float) -> Standing:
    return Standing(claim=claim, remaining=max(0, int(remaining)), reset_s=claim.reset_s if claim.window else reset_s)


def _granted(verdict: asyncio.Future[Verdict]) -> bool:
    return verdict.done() and not verdict.cancelled() and verdict.exception() is None and verdict.result().granted


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _unreachable(error: OSError) -> ApiError:
    return unavailable(
        f"the counters of limits cannot be reached, so nothing that is limited is served ({error}); ask again",
        code="limits_unavailable",
        retry_after_s=1,
    )
