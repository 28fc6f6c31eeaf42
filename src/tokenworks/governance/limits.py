"""How much a tenant, project, key or model may have: limits in the catalog, in force within a second everywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.errors import ConfigError, ConflictError, NotFoundError
from tokenworks.core.priority import NAMES, Priority
from tokenworks.governance.keys import FRESH_S, HOUSE
from tokenworks.governance.renewing import Renewed
from tokenworks.store.nouns import Budget, Object

KIND = "limit"
EACH = "*"  # each one by itself
IN_ALL = ("tokens_in_all", "money_in_all_micro")
BUDGETS = ("tokens_per_day", "tokens_per_month", "money_per_day_micro", "money_per_month_micro", *IN_ALL)
AMOUNTS = ("requests_per_minute", "tokens_per_minute", "concurrency", *BUDGETS, "requests_in_all")
MOST_WEIGHT = 1e6
REMEMBERED = 4096  # callers whose limits are known
_NARROWEST = (1, 3, 0, 2)  # parts of a subject: a key says more than its project, that more than its tenant


class Subject(NamedTuple):
    """Whose requests are counted together. Empty: whoever."""

    tenant: str = ""
    key: str = ""
    model: str = ""
    project: str = ""  # of the tenant
    grant: str = ""  # by its id

    @lru_cache(maxsize=4096)  # noqa: B019 - a tuple: its words are the same for good, and needed on each request
    def __str__(self) -> str:
        named = [f"{name}={value}" for name, value in self._asdict().items() if value]
        return " ".join(named) or "everybody"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a subject may have; None: no bound. Where a part of the subject is `*`, each has its own."""

    subject: Subject
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    tokens_per_day: int | None = None  # UTC
    tokens_per_month: int | None = None
    money_per_day_micro: int | None = None  # millionths of the price list's unit
    money_per_month_micro: int | None = None
    weight: float | None = None  # of the share where tenants wait for an engine; no bound, nor is the next
    priority: str | None = None  # the most urgent that may be asked for
    tokens_in_all: int | None = None  # of a grant, from its first request to its last
    money_in_all_micro: int | None = None
    requests_in_all: int | None = None

    @property
    def has_budget(self) -> bool:
        """Whether there is a hard stop on tokens or money."""
        return any(getattr(self, name) is not None for name in BUDGETS)

    @property
    def bounds(self) -> bool:
        """Whether anything is counted."""
        return any(getattr(self, name) is not None for name in AMOUNTS)


class Share(NamedTuple):
    """What somebody has where engines are full."""

    weight: float = 1.0
    priority: Priority = Priority.INTERACTIVE  # at most


EVERYBODYS = Share()
_NO_LIMITS: list[Limit] = []


class LimitRows(Protocol):
    """The part of the catalog that keeps things under an id."""

    def add(self, object: Object) -> None:
        """Keep a new object."""
        ...

    def update(self, object: Object) -> Object:
        """Store the changed body."""
        ...

    def get(self, kind: str, id: str) -> Object | None:
        """Return the object, or None."""
        ...

    def of(self, kind: str, scope: str | None = None) -> list[Object]:
        """Return all of `kind`."""
        ...

    def delete(self, kind: str, id: str) -> bool:
        """Forget the object; return whether there was one."""
        ...


class Limits:
    """The limits of a catalog, remembered for `fresh_s` seconds."""

    def __init__(self, rows: LimitRows, *, clock: Clock | None = None, fresh_s: float = FRESH_S) -> None:
        self._rows = rows
        self._known = Renewed(self.all, fresh_s=fresh_s, now_s=(clock or SystemClock()).monotonic)
        self._applied_of: list[Limit] = []
        self._applied: dict[Subject, tuple[list[Limit], Share]] = {}  # as those were

    def set(self, limit: Limit) -> None:
        """Put `limit` in the place of what its subject had before."""
        check(limit)
        body, name = msgspec.to_builtins(limit), str(limit.subject)
        body["subject"] = limit.subject[:-1]  # none is of a grant; gateways of the version before read it so
        while True:
            there = self._rows.get(KIND, name)
            try:
                if there is not None:
                    self._rows.update(msgspec.structs.replace(there, body=body))
                else:
                    scope = limit.subject.tenant
                    self._rows.add(Object(kind=KIND, id=name, scope=scope, body=body, created_at=time.time()))
            except ConflictError:  # somebody else set it in between: the last one counts
                continue
            return

    def drop(self, subject: Subject) -> None:
        """Take away what limits `subject`."""
        if not self._rows.delete(KIND, str(subject)):
            raise NotFoundError(f"no limit is set for '{subject}'; `tokenworks limit list` shows those that are")

    def all(self) -> list[Limit]:
        """Return every limit, as the catalog has it now."""
        return [msgspec.convert(found.body, Limit) for found in self._rows.of(KIND)]

    async def of(self, who: Subject) -> list[Limit]:
        """Return what limits a request of tenant, key, model and project `who`, each with its subject filled in."""
        return (await self.terms(who))[0]

    async def terms(self, who: Subject, budget: Budget | None = None) -> tuple[list[Limit], Share]:
        """Return what limits a request of `who`, and its share of full engines; `budget` is that of its grant."""
        return self._terms(await self._known.get(), who, budget)

    def at_hand(self, who: Subject, budget: Budget | None = None) -> tuple[list[Limit], Share] | None:
        """Return the same, None where the catalog has to be read first. The same objects until a limit changes."""
        known = self._known.at_hand()
        return None if known is None else self._terms(known, who, budget)

    def _terms(self, known: list[Limit], who: Subject, budget: Budget | None) -> tuple[list[Limit], Share]:
        if not known and budget is None:
            return _NO_LIMITS, EVERYBODYS
        if known is not self._applied_of:
            self._applied_of, self._applied = known, {}
        found = self._applied.get(who)
        if found is None:
            if len(self._applied) >= REMEMBERED:
                self._applied = {}
            own = [] if budget is None else [of_grant(who.grant, budget)]
            found = self._applied[who] = [*applying(known, who), *own], share(known, who)
        return found


def of_grant(grant: str, budget: Budget) -> Limit:
    """Return the limit that a grant brings along; it never changes."""
    return Limit(
        subject=Subject(grant=grant),
        requests_per_minute=budget.requests_per_minute,
        tokens_per_minute=budget.tokens_per_minute,
        concurrency=budget.concurrency,
        tokens_in_all=budget.tokens,
        money_in_all_micro=budget.money_micro,
        requests_in_all=budget.requests,
    )


def applying(limits: Sequence[Limit], who: Subject) -> list[Limit]:
    """Return the limits on `who`; where two count the same requests, only the one that names more of them exactly.

    So a limit for one tenant replaces the one that each tenant has. The house itself is nobody's `*`.
    """
    found: dict[Subject, tuple[tuple[bool, ...], Limit]] = {}
    for limit in limits:
        if not limit.bounds:
            continue
        if not _fits(limit.subject, who):
            continue
        if who.tenant == HOUSE and EACH in limit.subject:
            continue
        subject = Subject(*(value if rule == EACH else rule for rule, value in zip(limit.subject, who, strict=True)))
        exact = tuple(limit.subject[part] != EACH for part in _NARROWEST)
        if subject not in found or exact > found[subject][0]:
            found[subject] = exact, msgspec.structs.replace(limit, subject=subject)
    return [limit for _, limit in found.values()]


def share(limits: Sequence[Limit], who: Subject) -> Share:
    """Return the share of `who`: weight and priority as the limit says that names `who` most exactly."""
    found = Share()
    if who.tenant == HOUSE:
        return found
    for limit in sorted(limits, key=_exactness):
        if not _fits(limit.subject, who):
            continue
        if limit.weight is not None:
            found = found._replace(weight=limit.weight)
        if limit.priority is not None:
            found = found._replace(priority=Priority(NAMES.index(limit.priority)))
    return found


def _fits(rules: Subject, who: Subject) -> bool:
    """Return whether `rules` name `who`. A key without a project is none of each."""
    return all(rule in ("", value) or (rule == EACH and value) for rule, value in zip(rules, who, strict=True))


def _exactness(limit: Limit) -> tuple[int, ...]:
    """Return how exactly a limit names: a key says more than its tenant, a name more than `*`."""
    return tuple(2 if (rule := limit.subject[part]) not in ("", EACH) else len(rule) for part in _NARROWEST)


def check(limit: Limit) -> None:
    """Raise `ConfigError` for a limit that cannot be meant."""
    amounts = {name: getattr(limit, name) for name in AMOUNTS}
    if not limit.bounds and limit.weight is None and limit.priority is None:
        raise ConfigError(
            f"the limit for '{limit.subject}' bounds nothing; give requests or tokens a minute, requests at a time, "
            "tokens or money a day or a month, a weight or a priority"
        )
    if limit.weight is not None and not 0 < limit.weight <= MOST_WEIGHT:
        raise ConfigError(f"weight {limit.weight:g} for '{limit.subject}' is not above 0 and at most {MOST_WEIGHT:g}")
    if limit.priority is not None and limit.priority not in NAMES:
        raise ConfigError(f"priority {limit.priority!r} for '{limit.subject}' is none of {', '.join(NAMES)}")
    for name, amount in amounts.items():
        if amount is not None and amount < 0:
            raise ConfigError(f"{name} {amount} for '{limit.subject}' is negative; 0 lets nothing pass")
    if limit.subject.grant or any(amounts[name] is not None for name in (*IN_ALL, "requests_in_all")):
        raise ConfigError(f"'{limit.subject}': a grant has its budget from when it is made: `tokenworks grant new`")
    if limit.subject.tenant == HOUSE:
        raise ConfigError(f"tenant {HOUSE!r} is the factory itself and is not limited; limit who asks it for work")
    if limit.subject.project and not limit.subject.tenant:
        raise ConfigError(
            f"project {limit.subject.project!r} is of a tenant, and others may call theirs the same: name the tenant "
            "too, or '*' for each"
        )
    for part in limit.subject:
        if any(letter.isspace() or letter == "=" for letter in part):
            raise ConfigError(f"{part!r} cannot be limited: names hold neither spaces nor '='")
