"""Changes of who may ask, each with its ledger entry: what takes away is in force first, what gives only once recorded.

The catalog holds the plan until both are done, so that a kill between any two lines is mended at the next start
(docs/decisions/0215-access-changes.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from tokenworks.ledger.entries import AccessEntry
from tokenworks.store.ops import AnyOp, Change

FOREIGN_S = 86400.0  # how long the plan of another home is left to that home


class ChangeRows(Protocol):
    """The part of the catalog that keeps changes under way."""

    def begin(self, change: Change) -> None:
        """Plan a change and do what it does first."""
        ...

    def finish(self, change: Change) -> None:
        """Do the rest and forget the plan."""
        ...

    def drop(self, change: Change) -> None:
        """Forget the plan."""
        ...

    def open(self) -> list[Change]:
        """Return what is under way."""
        ...


Make = Callable[[AccessEntry, Sequence[AnyOp], Sequence[AnyOp]], None]


class Access:
    """Makes changes. `record` returns once the entry is durable; `tell` says to other processes that access changed."""

    def __init__(
        self, rows: ChangeRows, *, record: Callable[[AccessEntry], Any], tell: Callable[[], None], place: str
    ) -> None:
        self._rows = rows
        self._record = record
        self._tell = tell
        self._place = place

    def make(self, entry: AccessEntry, first: Sequence[AnyOp], then: Sequence[AnyOp]) -> None:
        """Do `first`, record `entry`, do `then`."""
        told = msgspec.to_builtins(entry)
        change = Change(
            id=entry.access_id, place=self._place, at=entry.at, entry=told, first=tuple(first), then=tuple(then)
        )
        self._rows.begin(change)
        if first:
            self._tell()
        self._record(entry)  # where this fails the plan stays: at the next start the ledger says what became of it
        self._rows.finish(change)
        self._tell()

    def recover(self, recorded: Callable[[set[str]], set[str]], *, now: float) -> int:
        """Finish what a kill left; return how many changes that were. `recorded` says which ids the ledger has.

        What gives and is not recorded never was: nobody was told, and a secret that nobody saw opens nothing.
        Call it while no other process of this home makes a change.
        """
        left = [one for one in self._rows.open() if one.place == self._place or one.at < now - FOREIGN_S]
        if not left:
            return 0
        known = recorded({one.id for one in left})
        for change in left:
            if change.id not in known and not change.first:
                self._rows.drop(change)
                continue
            if change.id not in known:
                self._record(msgspec.convert(change.entry, AccessEntry))
            self._rows.finish(change)
        self._tell()
        return len(left)
