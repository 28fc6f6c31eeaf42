"""Tokens and money per day, tenant, project, key and model: a view folded from request entries, made anew the same.

What a budget is measured by is this sum and nothing else, so the number enforced is the number reported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import msgspec

from tokenworks.core.files import write_atomic
from tokenworks.ledger.entries import AnyEntry, RequestEntry
from tokenworks.ledger.reader import read

KEPT_MONTHS = 2  # this one and the last
KEPT_MONTHS_OF_GRANTS = 3  # one that lasts 31 days may begin on January 31 and end on March 3


class Row(NamedTuple):
    """Who spent, on what, when."""

    day: str  # 2026-11-21, UTC
    tenant: str
    key: str
    model: str
    project: str


class Spent(NamedTuple):
    """How much."""

    tokens: int = 0
    micro: int = 0  # millionths of the price list's unit
    requests: int = 0  # of a grant


class _OfGrant(msgspec.Struct):
    """What a grant has come to, whenever it was."""

    day: str  # the last on which it was used
    spent: Spent = Spent()


class _Sum:
    """The same, still growing: it is added to on every request."""

    __slots__ = ("micro", "tokens")

    def __init__(self, tokens: int = 0, micro: int = 0) -> None:
        self.tokens = tokens
        self.micro = micro

    def add(self, tokens: int, micro: int) -> None:
        self.tokens += tokens
        self.micro += micro


Asked = tuple[str, str, str, str, str]  # a window, then tenant, key, model and project; empty: all


Grants = dict[str, _OfGrant]


class _View(msgspec.Struct):
    places: dict[str, int]  # writer -> index of the last entry folded
    rows: list[tuple[Row, Spent]]
    grants: Grants


class _Log(msgspec.Struct):
    place: int
    rows: list[tuple[Row, Spent]]
    grants: Grants


class Spending:
    """The sums in memory. `total` is a lookup once it was asked for; `add` keeps it right."""

    def __init__(self, rows: Mapping[Row, Spent] | None = None, grants: Mapping[str, _OfGrant] | None = None) -> None:
        self._rows = {row: _Sum(spent.tokens, spent.micro) for row, spent in (rows or {}).items()}
        self.grants: Grants = dict(grants or {})
        self._totals: dict[Asked, _Sum] = {}
        self._covered: dict[Row, list[_Sum]] = {}  # of a row, its sum and the totals that it is a part of

    def total(self, window: str, tenant: str = "", key: str = "", model: str = "", project: str = "") -> int:
        """Return the tokens of a day (`2026-11-21`) or month (`2026-11`); an empty name stands for all."""
        return self.spent(window, tenant, key, model, project).tokens

    def spent(self, window: str, tenant: str = "", key: str = "", model: str = "", project: str = "") -> Spent:
        """Return tokens and money of a day (`2026-11-21`) or month (`2026-11`); an empty name stands for all."""
        asked = (window, tenant, key, model, project)
        found = self._totals.get(asked)
        if found is None:
            found = self._totals[asked] = _Sum()
            for row, spent in self._rows.items():
                if (
                    row.day.startswith(window)
                    and tenant in ("", row.tenant)
                    and key in ("", row.key)
                    and model in ("", row.model)
                    and project in ("", row.project)
                ):
                    found.add(spent.tokens, spent.micro)
            self._covered = {}
        return Spent(found.tokens, found.micro)

    def of_grant(self, grant: str) -> Spent:
        """Return what a grant has come to, whenever it was."""
        found = self.grants.get(grant)
        return Spent() if found is None else found.spent

    def add(self, entry: AnyEntry) -> None:
        """Take in an entry; only requests that somebody was answered count."""
        if not isinstance(entry, RequestEntry):
            return
        tokens, micro = charged(entry), charged_micro(entry)
        if entry.grant:
            self._add_to_grant(entry, tokens, micro)
        if not tokens and not micro:
            return
        row = Row(day_of(entry.at), entry.tenant, entry.key_id, alias_of(entry.model), entry.project)
        covered = self._covered.get(row)
        if covered is None:
            if row not in self._rows:
                self._forget_before(_months_back(row.day))
                self._rows[row] = _Sum()
            totals = [self._totals[asked] for asked in _covering(row) if asked in self._totals]
            covered = self._covered[row] = [self._rows[row], *totals]
        for one in covered:
            one.tokens += tokens
            one.micro += micro

    def rows(self) -> dict[Row, Spent]:
        """Return the sums at their finest."""
        return {row: Spent(one.tokens, one.micro) for row, one in self._rows.items()}

    def _add_to_grant(self, entry: RequestEntry, tokens: int, micro: int) -> None:
        requests, day = counted(entry), day_of(entry.at)
        if not tokens and not micro and not requests:
            return
        found = self.grants.get(entry.grant)
        if found is None:
            first = _months_back(day, KEPT_MONTHS_OF_GRANTS)
            self.grants = {grant: one for grant, one in self.grants.items() if one.day >= first}
            found = self.grants[entry.grant] = _OfGrant(day)
        had = found.spent
        found.spent = Spent(had.tokens + tokens, had.micro + micro, had.requests + requests)
        found.day = max(day, found.day)

    def _forget_before(self, day: str) -> None:
        self._rows = {row: spent for row, spent in self._rows.items() if row.day >= day}
        self._totals = {asked: total for asked, total in self._totals.items() if asked[0] >= day[:7]}
        self._covered = {}


def load_spending(root: Path, view: Path) -> Spending:
    """Return what the log at `root` says; `view` remembers the sums up to some place, so that only the rest is read."""
    known = _read_view(view)
    spending = Spending(dict(known.rows), known.grants)
    for position, entry in read(root, after=known.places):
        known.places[position.writer] = position.index
        spending.add(entry)
    known.rows, known.grants = list(spending.rows().items()), spending.grants
    write_atomic(view, msgspec.json.encode(known))
    return spending


def load_by_writer(root: Path, view: Path) -> dict[str, Spending]:
    """Return what each writer's log at `root` says; any number of processes may keep the same `view`."""
    known = _read_logs(view)
    spendings = {writer: Spending(dict(log.rows), log.grants) for writer, log in known.items()}
    for position, entry in read(root, after={writer: log.place for writer, log in known.items()}):
        known.setdefault(position.writer, _Log(-1, [], {})).place = position.index
        spendings.setdefault(position.writer, Spending()).add(entry)
    for writer, log in known.items():
        log.rows, log.grants = list(spendings[writer].rows().items()), spendings[writer].grants
    write_atomic(view, msgspec.json.encode(known))
    return spendings


def charged(entry: RequestEntry) -> int:
    """Return the tokens that a request is charged with: those that were delivered to who asked.

    What a shadow answered, or a canary before it failed, nobody was given. What samples came to is charged with the
    answer that they are for.
    """
    return 0 if unseen(entry) else entry.prompt_tokens + entry.completion_tokens


def charged_micro(entry: RequestEntry) -> int:
    """Return the price that a request is charged with, in millionths of the price list's unit."""
    return 0 if unseen(entry) else entry.price_micro


def counted(entry: RequestEntry) -> int:
    """Return how many requests it was: one that an engine answered, in part or whole.

    Each sample for an answer is one; the answer that they were for, and one given again, are none.
    """
    if not entry.engine or entry.outcome == "refused" or entry.replays or entry.samples or _tried(entry):
        return 0
    return 1


def unseen(entry: RequestEntry) -> bool:
    """Return whether nobody was given the answer itself: a sample for another one, a shadow, a canary that failed."""
    return bool(entry.part_of) or _tried(entry)


def _tried(entry: RequestEntry) -> bool:
    return entry.arm == "shadow" or entry.request_id.endswith("-canary")


def alias_of(model: str) -> str:
    """Return the model without its version."""
    return model.partition("@")[0]


def day_of(at: float) -> str:
    """Return the UTC day of a Unix time."""
    return _day(int(at // 86400))


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(number * 86400))


def _read_view(view: Path) -> _View:
    try:
        return msgspec.json.decode(view.read_bytes(), type=_View)
    except (FileNotFoundError, msgspec.MsgspecError):  # never made, or by another version: made anew
        return _View({}, [], {})


def _read_logs(view: Path) -> dict[str, _Log]:
    try:
        return msgspec.json.decode(view.read_bytes(), type=dict[str, _Log])
    except (FileNotFoundError, msgspec.MsgspecError):  # never made, or by another version: made anew
        return {}


def _covering(row: Row) -> Iterator[Asked]:
    """Yield every question whose answer `row` is a part of, each once: a name may be empty in the row itself."""
    return product((row.day, row.day[:7]), {"", row.tenant}, {"", row.key}, {"", row.model}, {"", row.project})


def _months_back(day: str, kept: int = KEPT_MONTHS) -> str:
    """Return the first day of the months that are kept, that of `day` among them."""
    year, month = int(day[:4]), int(day[5:7])
    months = year * 12 + month - kept
    return f"{months // 12:04}-{months % 12 + 1:02}-01"
