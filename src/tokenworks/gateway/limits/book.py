"""Counters that several gateways share: the words between a gateway and who counts, and the counting itself in memory.

What was spent is kept per ledger log as that log's own sum, which only grows, so it may be told twice, late, or by
whoever can read the log (a G-counter, Shapiro et al. 2011, 3.1.1). What requests under way hold is kept per member and
lapses with its lease; of a budget, when the next who writes its log has told what is in it, or MOURNED_S later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

Kind = Literal["rate", "hold", "budget"]
Told = dict[str, dict[str, int]]  # name of a budget -> ledger log -> tokens
MINUTE_S = 60.0
MOURNED_S = 60.0  # in which a gateway that was killed is usually back, and its log is read again


class Part(msgspec.Struct, frozen=True, array_like=True):
    """So much of one counter."""

    name: str
    kind: Kind
    limit: int
    amount: int


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """So many requests that each want the same parts, all of them or none."""

    count: int
    parts: tuple[Part, ...]


class End(msgspec.Struct, frozen=True, array_like=True):
    """A part of a request that has ended; of a rate, `used` of what it took was needed."""

    part: Part
    used: int


class Join(msgspec.Struct, frozen=True, array_like=True):
    """A member comes, or comes back under a new name with all that it holds and knows."""

    member: str
    before: str  # the name it gives up
    lease_s: float
    grace_s: float  # how long budgets wait where nobody was a member: others may know of more that was spent
    held: dict[str, int]
    told: Told
    log: str = ""  # the ledger log that it writes


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """A member lives, and tells what was asked for."""

    member: str
    lease_s: float
    seen: int  # the last counter's number that it knows
    told: Told


class Work(msgspec.Struct, frozen=True, array_like=True):
    """What a member wants now: first what is told and ended counts, then what is asked."""

    member: str
    told: Told
    ends: tuple[End, ...]
    asks: tuple[Ask, ...]


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a beat: budgets that somebody began to count after `seen`."""

    known: bool  # False: the lease has lapsed, or the counters were lost; join again
    seen: int
    names: tuple[str, ...]


class Given(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one request. `left` is (remaining, seconds until whole) for each of its parts."""

    granted: bool
    left: tuple[tuple[float, float], ...]
    blocked: int = -1  # the part that refused
    retry_s: float = -1.0  # when a rate has enough; negative: never, or not known
    later: bool = False  # as soon as a request under way has ended


class Worked(msgspec.Struct, frozen=True, array_like=True):
    """The answers to `Work`: for each ask those granted, and one refusal for the rest."""

    known: bool
    given: tuple[tuple[Given, ...], ...]


class Book(Protocol):
    """Who counts. Every call is atomic. Raises `OSError` where it cannot be reached."""

    async def join(self, join: Join) -> None:
        """Take in a member."""
        ...

    async def beat(self, beat: Beat) -> Heard:
        """Extend a lease."""
        ...

    async def work(self, work: Work) -> Worked:
        """Grant, and take back."""
        ...

    async def leave(self, member: str) -> None:
        """Let a member go, with all that it holds."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(slots=True)
class _Member:
    until_s: float  # end of its lease
    log: str

    @property
    def mourned_s(self) -> float:
        return MOURNED_S if self.log else 0.0


@dataclass(slots=True)
class _Counter:
    """One rate, hold or budget."""

    level: float | None = None  # None: never asked for
    at_s: float = 0.0
    held: dict[str, int] = field(default_factory=dict)  # member -> amount
    spent: dict[str, int] = field(default_factory=dict)  # ledger log -> tokens
    told_by: set[str] = field(default_factory=set)


class MemoryBook:
    """A book in this process. `book.lua` does the same in Redis."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._counters: dict[str, _Counter] = {}
        self._budgets: list[str] = []  # in the order in which they were first asked for
        self._members: dict[str, _Member] = {}  # those that live, and those that are mourned
        self._living: set[str] = set()
        self._sure_s = -1.0  # from when on what was spent is known

    async def join(self, join: Join) -> None:
        """Take in a member."""
        now = self._now()
        if self._sure_s < 0:
            self._sure_s = now + join.grace_s
        self._members.pop(join.before, None)
        for one in [one for one in self._members.values() if join.log and one.log == join.log]:
            one.until_s = min(one.until_s, now)  # a log has one writer: this one is dead
        self._members[join.member] = _Member(now + join.lease_s, join.log)
        self._lives(join.member, now)
        for name, amount in join.held.items():
            self._counter(name).held[join.member] = amount
        self._tell(join.member, join.told)

    async def beat(self, beat: Beat) -> Heard:
        """Extend a lease."""
        now = self._now()
        if not self._lives(beat.member, now):
            return Heard(False, 0, ())
        self._members[beat.member].until_s = now + beat.lease_s
        self._tell(beat.member, beat.told)
        return Heard(True, len(self._budgets), tuple(self._budgets[beat.seen :]))

    async def work(self, work: Work) -> Worked:
        """Grant, and take back."""
        now = self._now()
        if not self._lives(work.member, now):
            return Worked(False, ())
        self._tell(work.member, work.told)
        for end in work.ends:
            self._end(work.member, end, now)
        return Worked(True, tuple(self._given(work.member, ask, now) for ask in work.asks))

    async def leave(self, member: str) -> None:
        """Let a member go, with all that it holds."""
        self._members.pop(member, None)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _lives(self, member: str, now: float) -> bool:
        self._members = {n: one for n, one in self._members.items() if one.until_s + one.mourned_s > now}
        self._living = {name for name, one in self._members.items() if one.until_s > now}
        return member in self._living

    def _tell(self, member: str, told: Told) -> None:
        for name, logs in told.items():
            counter = self._counter(name)
            if not counter.told_by:
                self._budgets.append(name)
            counter.told_by.add(member)
            for log, tokens in logs.items():
                counter.spent[log] = max(tokens, counter.spent.get(log, 0))
            for dead in self._mourned(self._members[member].log):
                counter.held.pop(dead, None)

    def _mourned(self, log: str) -> list[str]:
        """Return those that died who wrote `log`: what they held is spent or not, and whoever writes it now knows."""
        return [name for name, one in self._members.items() if one.log == log and name not in self._living]

    def _end(self, member: str, end: End, now: float) -> None:
        part = end.part
        counter = self._counter(part.name)
        if part.kind == "rate":
            counter.level = min(float(part.limit), self._level(part, now) + part.amount - end.used)
        else:
            counter.held[member] = max(0, counter.held.get(member, 0) - part.amount)

    def _given(self, member: str, ask: Ask, now: float) -> tuple[Given, ...]:
        given: list[Given] = []
        for _ in range(ask.count):
            refusal = self._refusal(ask.parts, now)
            if refusal is not None:
                return (*given, refusal)
            for part in ask.parts:
                counter = self._counter(part.name)
                if part.kind == "rate":
                    counter.level = self._level(part, now) - part.amount
                else:
                    counter.held[member] = counter.held.get(member, 0) + part.amount
            given.append(Given(True, tuple(self._left(part, now) for part in ask.parts)))
        return tuple(given)

    def _refusal(self, parts: tuple[Part, ...], now: float) -> Given | None:
        """Return why not, None where all parts fit: what only time or nothing can change goes before what ends can."""
        later: Given | None = None
        for number, part in enumerate(parts):
            refusal = self._rate_refusal(part, number, now) if part.kind == "rate" else self._hold_refusal(part, number)
            if refusal is None:
                continue
            if not refusal.later:
                return refusal
            later = later or refusal
        unsure = later is None and any(part.kind == "budget" and not self._sure(part.name, now) for part in parts)
        if unsure:
            number = next(n for n, part in enumerate(parts) if part.kind == "budget")
            later = Given(False, (self._left(parts[number], now),), number, later=True)
        return later

    def _rate_refusal(self, part: Part, number: int, now: float) -> Given | None:
        level = self._level(part, now)
        if part.amount <= level:
            return None
        wait_s = (part.amount - level) * MINUTE_S / part.limit if 0 < part.amount <= part.limit else -1.0
        return Given(False, (self._left(part, now),), number, wait_s)

    def _hold_refusal(self, part: Part, number: int) -> Given | None:
        spent, held = self._spent(part.name), self._held(part)
        if spent + held + part.amount <= part.limit:
            return None
        left = ((float(max(0, part.limit - spent - held)), 0.0),)
        return Given(False, left, number, later=spent + part.amount <= part.limit)

    def _sure(self, name: str, now: float) -> bool:
        """Whether everybody has told what was spent, also those who have yet to come back after a loss."""
        return now >= self._sure_s and self._counter(name).told_by >= self._living

    def _left(self, part: Part, now: float) -> tuple[float, float]:
        if part.kind == "rate":
            level = self._level(part, now)
            return level, (part.limit - level) * MINUTE_S / part.limit if part.limit else MINUTE_S
        return float(max(0, part.limit - self._spent(part.name) - self._held(part))), 0.0

    def _level(self, part: Part, now: float) -> float:
        """Return what the bucket holds, filled up to now; a limit that was changed holds at most its new size."""
        counter = self._counter(part.name)
        whole = float(part.limit)
        elapsed_s = max(0.0, now - counter.at_s)
        before = whole if counter.level is None else counter.level
        counter.level, counter.at_s = min(whole, before + elapsed_s * part.limit / MINUTE_S), now
        return counter.level

    def _spent(self, name: str) -> int:
        return sum(self._counter(name).spent.values())

    def _held(self, part: Part) -> int:
        """Return what members hold that live, or are mourned where it is a budget, and forget what others held."""
        counter = self._counter(part.name)
        of = self._members if part.kind == "budget" else self._living
        counter.held = {member: amount for member, amount in counter.held.items() if member in of}
        return sum(counter.held.values())

    def _counter(self, name: str) -> _Counter:
        return self._counters.setdefault(name, _Counter())
