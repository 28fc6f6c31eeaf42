"""What the meter of this machine counted in each hour of a month: whole millionths of joules that add up again.

Requests, other work and idle together are what was metered, hour by hour, as they are in every entry of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tokenworks.ledger.entries import EnergyEntry
from tokenworks.ledger.metered import began_at, ended_at, is_sound
from tokenworks.metering.money.apportion import apportion
from tokenworks.metering.money.month import Month
from tokenworks.metering.source import GRADES

HOUR_S = 3600
MICRO = 1_000_000


class MeteredHour(NamedTuple):
    """One hour by the meter. `requests_uj + other_uj + idle_uj` is what was metered."""

    grade: str = ""  # the worst of the hour
    requests_uj: int = 0  # due to requests
    other_uj: int = 0  # of other work on this machine
    idle_uj: int = 0
    untold_uj: int = 0  # of `requests_uj`, what no request's entry has
    error_uj: int = 0  # standard uncertainty: that of one meter is the same from span to span, so it is added up
    seconds_us: int = 0  # that the joules stand for
    gap_us: int = 0  # besides: the meter was there, and nobody knows
    engine_us: int = 0  # engines had steps under way while it was metered

    @property
    def metered_uj(self) -> int:
        """What the meter counted."""
        return self.requests_uj + self.other_uj + self.idle_uj

    def plus(self, other: MeteredHour) -> MeteredHour:
        """Return both together, with the worse grade."""
        grade = max(self.grade, other.grade, key=_rank)
        return MeteredHour(grade, *[one + more for one, more in zip(self[1:], other[1:], strict=True)])


Hours = dict[int, MeteredHour]  # by the number of the hour since the Unix epoch


def metered_hours(entries: Iterable[EnergyEntry], month: Month) -> tuple[Hours, int]:
    """Return the hours of a month in which something was metered or missed, and how many entries cannot be meant.

    An entry that lies in two hours is split by time, without a millionth lost; of one that lies in two months only the
    part in this one counts.
    """
    hours: Hours = {}
    doubtful = 0
    for entry in entries:
        if not is_sound(entry):
            doubtful += 1
            continue
        for hour, part in _by_hour(entry):
            if month.begin <= hour * HOUR_S < month.end:
                hours[hour] = hours[hour].plus(part) if hour in hours else part
    return dict(sorted(hours.items())), doubtful


def together(hours: Mapping[int, MeteredHour]) -> MeteredHour:
    """Return the sum of hours."""
    return _sum(hours.values())


def _sum(hours: Iterable[MeteredHour]) -> MeteredHour:
    found = MeteredHour()
    for one in hours:
        found = found.plus(one)
    return found


def _by_hour(entry: EnergyEntry) -> Iterable[tuple[int, MeteredHour]]:
    """Return the parts of an entry, by hour; together they are the entry."""
    whole, began, ended = _whole(entry), began_at(entry), ended_at(entry)
    first, last = int(began // HOUR_S), int(-(-ended // HOUR_S)) - 1
    if last <= first:
        return ((first, whole),)
    weights = {
        hour: round((min(ended, (hour + 1) * HOUR_S) - max(began, hour * HOUR_S)) * MICRO)
        for hour in range(first, last + 1)
    }
    if not any(weights.values()):
        return ((first, whole),)
    columns = [apportion(value, weights) for value in whole[1:]]
    return ((hour, MeteredHour(entry.meter, *[column[hour] for column in columns])) for hour in weights)


def _whole(entry: EnergyEntry) -> MeteredHour:
    metered = entry.seconds / (entry.seconds + entry.gap_s) if entry.seconds else 0.0  # engines worked in gaps as well
    parts = (entry.requests_j, entry.other_j, entry.idle_j, entry.untold_j, entry.metered_j * entry.error)
    times = (entry.seconds, entry.gap_s, entry.engine_s * metered)
    return MeteredHour(entry.meter, *[round(value * MICRO) for value in (*parts, *times)])


def _rank(grade: str) -> int:
    return GRADES.index(grade) if grade in GRADES else -1 if not grade else len(GRADES)
