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


class _View(msgspec.Struct):
    places: dict[str, int] = {}  # writer -> index of the last entry folded
    rows: list[tuple[Row, Spent]] = []


class _Log(msgspec.Struct):
    place: int = -1
    rows: list[tuple[Row, Spent]] = []


class Spending:
    """The sums in memory. `total` is a lookup once it was asked for; `add` keeps it right."""

    def __init__(self, rows: Mapping[Row, Spent] | None = None) -> None:
        self._rows = {row: _Sum(*spent) for row, spent in (rows or {}).items()}
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

    def add(self, entry: AnyEntry) -> None:
        """Take in an entry; only requests that somebody was answered count."""
        if not isinstance(entry, RequestEntry):
            return
        tokens, micro = charged(entry), charged_micro(entry)
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

    def _forget_before(self, day: str) -> None:
        self._rows = {row: spent for row, spent in self._rows.items() if row.day >= day}
        self._totals = {asked: total for asked, total in self._totals.items() if asked[0] >= day[:7]}
        self._covered = {}


def load_spending(root: Path, view: Path) -> Spending:
    """Return what the log at `root` says; `view` remembers the sums up to some place, so that only the rest is read."""
    known = _read_view(view)
    spending = Spending(dict(known.rows))
    for position, entry in read(root, after=known.places):
        known.places[position.writer] = position.index
        spending.add(entry)
    known.rows = list(spending.rows().items())
    write_atomic(view, msgspec.json.encode(known))
    return spending


def load_by_writer(root: Path, view: Path) -> dict[str, Spending]:
    """Return what each writer's log at `root` says; any number of processes may keep the same `view`."""
    known = _read_logs(view)
    spendings = {writer: Spending(dict(log.rows)) for writer, log in known.items()}
    for position, entry in read(root, after={writer: log.place for writer, log in known.items()}):
        known.setdefault(position.writer, _Log()).place = position.index
        spendings.setdefault(position.writer, Spending()).add(entry)
    for writer, log in known.items():
        log.rows = list(spendings[writer].rows().items())
    write_atomic(view, msgspec.json.encode(known))
    return spendings


def charged(entry: RequestEntry) -> int:
    """Return the tokens that a request is charged with: those that were delivered to who asked.

    What a shadow answered, or a canary before it failed, nobody was given. What samples came to is charged with the
    answer that they are for.
    """
    return 0 if _unseen(entry) else entry.prompt_tokens + entry.completion_tokens


def charged_micro(entry: RequestEntry) -> int:
    """Return the price that a request is charged with, in millionths of the price list's unit."""
    return 0 if _unseen(entry) else entry.price_micro


def _unseen(entry: RequestEntry) -> bool:
    return entry.arm == "shadow" or bool(entry.part_of) or entry.request_id.endswith("-canary")


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
        return _View()


def _read_logs(view: Path) -> dict[str, _Log]:
    try:
        return msgspec.json.decode(view.read_bytes(), type=dict[str, _Log])
    except (FileNotFoundError, msgspec.MsgspecError):  # never made, or by another version: made anew
        return {}


def _covering(row: Row) -> Iterator[Asked]:
    """Yield every question whose answer `row` is a part of, each once: a name may be empty in the row itself."""
    return product((row.day, row.day[:7]), {"", row.tenant}, {"", row.key}, {"", row.model}, {"", row.project})


def _months_back(day: str) -> str:
    year, month = int(day[:4]), int(day[5:7])
    months = year * 12 + month - KEPT_MONTHS
    return f"{months // 12:04}-{months % 12 + 1:02}-01"
