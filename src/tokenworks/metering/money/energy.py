"""The energy of a month as a statement tells it: metered, by whom it was used, and which hours nobody metered.

    metered = requests + other + idle,   requests = told + untold + unsettled

in whole millionths of joules, exactly. `told` is the sum of the requests' own entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec

from tokenworks.core.clock import iso
from tokenworks.metering.money.metered import HOUR_S, MICRO, Hours, MeteredHour, together
from tokenworks.metering.money.month import Month
from tokenworks.metering.source import GRADES

How = Literal["metered", "in part", "gap", "not metered"]
WHOLE = 0.99  # of an hour that is called metered; the rest of it is modelled all the same
MOST = 1.01  # of an hour that one meter can stand for


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Hours that follow each other and are known in the same way."""

    since: str  # ISO 8601, UTC
    hours: int
    how: How
    meter: str = ""  # the worst grade among its readings
    metered_s: float = 0.0
    gap_s: float = 0.0  # the meter was there and nobody knows
    joules: float = 0.0


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """What the meter of this machine counted, in millionths of joules."""

    metered_uj: int
    requests_uj: int
    told_uj: int  # on the entries of requests
    untold_uj: int  # on no request's entry: answers broken off, engines that died, gaps
    unsettled_uj: int  # what then is left: requests under way, and those that end in another month than they began
    other_uj: int  # other work on this machine, training for one
    idle_uj: int
    error: float  # standard uncertainty of `metered_uj`, as a share
    meters: dict[str, float]  # joules by grade
    hours: dict[How, int]  # of the month so far
    metered_s: float
    gap_s: float
    doubled: int  # hours with more metered time than an hour has: two meters wrote, or a clock was set back
    doubtful: int  # entries that cannot be meant; nothing of them is in here
    stretches: tuple[Stretch, ...]


class Metering(NamedTuple):
    """The metered hours of a month, and how many entries could not be read as such."""

    hours: Hours
    doubtful: int = 0


NOT_METERED = Metering({})


def energy_of(metering: Metering, month: Month, *, told_uj: int, until: float) -> Energy | None:
    """Return what was metered in a month until `until`; None where no meter was read in it."""
    hours = metering.hours
    if not hours and not metering.doubtful:
        return None
    whole = together(hours)
    meters: dict[str, float] = {}
    for one in hours.values():
        meters[one.grade] = meters.get(one.grade, 0.0) + one.metered_uj / MICRO
    stretches = tuple(_stretches(hours, month, until))
    counts: dict[How, int] = {}
    for stretch in stretches:
        counts[stretch.how] = counts.get(stretch.how, 0) + stretch.hours
    return Energy(
        metered_uj=whole.metered_uj,
        requests_uj=whole.requests_uj,
        told_uj=told_uj,
        untold_uj=whole.untold_uj,
        unsettled_uj=whole.requests_uj - whole.untold_uj - told_uj,
        other_uj=whole.other_uj,
        idle_uj=whole.idle_uj,
        error=whole.error_uj / whole.metered_uj if whole.metered_uj else 0.0,
        meters=dict(sorted(meters.items(), key=lambda pair: GRADES.index(pair[0]) if pair[0] in GRADES else 99)),
        hours=counts,
        metered_s=whole.seconds_us / MICRO,
        gap_s=whole.gap_us / MICRO,
        doubled=sum(one.seconds_us > MOST * HOUR_S * MICRO for one in hours.values()),
        doubtful=metering.doubtful,
        stretches=stretches,
    )


def _stretches(hours: Hours, month: Month, until: float) -> Iterator[Stretch]:
    end = min(month.end, until)
    numbers = range(int(month.begin // HOUR_S), int(-(-end // HOUR_S)))
    known = ((number, hours.get(number, MeteredHour()), min(HOUR_S, end - number * HOUR_S)) for number in numbers)
    told = ((number, one, _how(one, part_s)) for number, one, part_s in known)
    for (how, grade), same in groupby(told, key=lambda row: (row[2], row[1].grade)):
        rows = list(same)
        yield Stretch(
            since=iso(rows[0][0] * HOUR_S),
            hours=len(rows),
            how=how,
            meter=grade,
            metered_s=sum(row[1].seconds_us for row in rows) / MICRO,
            gap_s=sum(row[1].gap_us for row in rows) / MICRO,
            joules=sum(row[1].metered_uj for row in rows) / MICRO,
        )


def _how(one: MeteredHour, part_s: float) -> How:
    if one.seconds_us >= WHOLE * part_s * MICRO and one.seconds_us:
        return "metered"
    if one.seconds_us:
        return "in part"
    return "gap" if one.gap_us else "not metered"


def energy_lines(found: Energy | None, *, modelled: bool) -> list[str]:
    """Return what was metered, for people; `modelled`: what was not is worked out from what machines draw."""
    rest = "is modelled" if modelled else "nobody knows"
    if found is None:
        return [f"energy     no meter was read: all of it {rest}"]
    meters = ", ".join(f"{grade} {joules:.1f} J" for grade, joules in found.meters.items())
    lines = [
        f"metered    {_j(found.metered_uj)} J = requests {_j(found.requests_uj)} + other work {_j(found.other_uj)} "
        f"+ idle {_j(found.idle_uj)}",
        f"           requests {_j(found.requests_uj)} J = on their entries {_j(found.told_uj)} "
        f"+ untold {_j(found.untold_uj)} + unsettled {_j(found.unsettled_uj)}",
        f"           {meters or 'nothing'}; +- {found.error:.1%}; {found.metered_s / HOUR_S:.2f} h, "
        f"and {found.gap_s:.0f} s in gaps",
        "hours      " + ", ".join(f"{count} {how}" for how, count in found.hours.items()) + f"; what was not {rest}",
    ]
    shown = found.stretches[:STRETCHES]
    lines += [f"           {_stretch(one)}" for one in shown]
    if len(found.stretches) > len(shown):
        lines.append(f"           ... and {len(found.stretches) - len(shown)} more stretches: --format json has all")
    if abs(found.unsettled_uj) > APART * max(found.requests_uj, found.told_uj) + MICRO:
        lines.append(
            "note       requests and the meter are further apart than rounding and requests under way: entries of one "
            "of them are missing, as after a server that was killed"
        )
    if found.doubled:
        lines.append(
            f"note       {found.doubled} hours have more metered time than an hour has: two meters, or a clock set back"
        )
    if found.doubtful:
        lines.append(
            f"note       {found.doubtful} entries of the meter cannot be meant: their time counts as not metered"
        )
    return lines


STRETCHES = 12  # on one screen
APART = 0.01  # of the requests' joules may be unsettled without a word


def _stretch(one: Stretch) -> str:
    text = f"{one.since[:13]}Z  {one.hours:>3} h  {one.how}"
    if one.metered_s:
        text += f" by {one.meter}, {one.joules:.1f} J"
    return text + (f", gap {one.gap_s:.0f} s" if one.gap_s else "")


def _j(micro: int) -> str:
    sign, size = ("-", -micro) if micro < 0 else ("", micro)
    return f"{sign}{size // MICRO}.{size % MICRO:06d}"
