"""So many rows and no more: every class or cluster gets its turn, the most telling rows first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from tokenworks.flywheel.select.rows import Row


def choose(rows: Sequence[Row], strata: Sequence[Hashable], most: int) -> set[int]:
    """Return the places of at most `most` rows: small strata whole, the large ones with equal parts of the rest."""
    if len(rows) <= most:
        return set(range(len(rows)))
    members: dict[Hashable, list[int]] = defaultdict(list)
    for at, stratum in enumerate(strata):
        members[stratum].append(at)
    chosen: set[int] = set()
    left = most
    for number, stratum in enumerate(sorted(members, key=lambda name: (len(members[name]), str(name)))):
        places = sorted(members[stratum], key=lambda at: (-rows[at].informative, -rows[at].at, rows[at].feedback_id))
        part = places[: left // (len(members) - number)]
        chosen.update(part)
        left -= len(part)
    return chosen
