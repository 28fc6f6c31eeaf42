"""So many rows and no more: every class or cluster gets its turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import Any

from tokenworks.flywheel.select.rows import Row

Order = Callable[[Row], Any]


def most_telling(row: Row) -> tuple[float, float, str]:
    """Order rows by what they teach: corrected before confirmed, unsure before sure, new before old."""
    return -row.informative, -row.at, row.feedback_id


def by_lot(row: Row) -> bytes:
    """Order rows by chance, the same at every time: what the guards see must be like all of it.

    The most telling rows would be mostly the wrong ones, for a wrong correction always contradicts a right answer.
    """
    return blake2b(row.feedback_id.encode(), digest_size=8).digest()


def choose(rows: Sequence[Row], strata: Sequence[Hashable], most: int, order: Order) -> set[int]:
    """Return the places of at most `most` rows: small strata whole, the large ones with equal parts of the rest."""
    if len(rows) <= most:
        return set(range(len(rows)))
    members: dict[Hashable, list[int]] = defaultdict(list)
    for at, stratum in enumerate(strata):
        members[stratum].append(at)
    chosen: set[int] = set()
    left = most
    for number, stratum in enumerate(sorted(members, key=lambda name: (len(members[name]), str(name)))):
        places = sorted(members[stratum], key=lambda at: order(rows[at]))
        part = places[: left // (len(members) - number)]
        chosen.update(part)
        left -= len(part)
    return chosen
