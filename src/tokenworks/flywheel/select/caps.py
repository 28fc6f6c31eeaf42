"""No principal may make up more than a share of what is learned, however much it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tokenworks.flywheel.select.rows import Row

FLOOR = 20  # rows that anybody may give: below, a share is a matter of chance
ACTIVE = 5  # rows that make a principal count as one of many
ROOM = 2.0  # times an equal share, where there are too few principals for the share asked for


def fair_share(counts: Iterable[int], share: float) -> float:
    """Return the share that a principal may have: the one asked for, or more where there are too few principals.

    With fewer than 2 / `share` active ones each may have twice an equal part; alone or as two, everything.
    """
    active = sum(count >= ACTIVE for count in counts)
    return min(1.0, max(share, ROOM / max(1, active)))


def cap(counts: Sequence[int], share: float) -> int:
    """Return the most rows m of a principal, so that m is at most `share` of what is left when all have at most m.

    Never below the floor. Any m up to the solution holds, since the sum of min(count, m) is concave in m.
    """
    low, high = 0, sum(counts)
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= share * sum(min(count, middle) for count in counts):
            low = middle
        else:
            high = middle - 1
    return max(low, FLOOR)


def over_cap(rows: Sequence[Row], most: int) -> dict[int, str]:
    """Return the places of the rows that are too many, with their principal: its least telling ones."""
    mine: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        mine[row.principal].append(at)
    gone: dict[int, str] = {}
    for principal, places in mine.items():
        places.sort(key=lambda at: (-rows[at].informative, rows[at].asked_at, rows[at].request_id))
        gone.update(dict.fromkeys(places[most:], principal))
    return gone


def per_principal(rows: Sequence[Row]) -> Counter[str]:
    """Return how many rows each principal gave."""
    return Counter(row.principal for row in rows)
