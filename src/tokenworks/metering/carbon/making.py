"""What the meter counted while models were made, without what requests took meanwhile: the provider's joules."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tokenworks.ledger.entries import EnergyEntry
from tokenworks.ledger.metered import began_at, ended_at, is_sound, within
from tokenworks.metering.money.month import Month

Times = tuple[float, float]  # Unix, from and until


class Made(NamedTuple):
    """Metered while stages ran."""

    joules: float
    seconds: float


def making(entries: Iterable[EnergyEntry], stages: Sequence[Times], month: Month) -> Made:
    """Return what was metered in a month while one of `stages` ran.

    Of each entry of the meter, which is a minute or so, other work and idle power count by the part of its time in
    which a stage ran; requests' joules never do.
    """
    joules = seconds = 0.0
    spans = union(stages)
    ends = [until for _, until in spans]
    for entry in entries:
        part = within(entry, month.begin, month.end) if is_sound(entry) else None
        if part is None or not part.seconds:
            continue
        began, ended = max(began_at(entry), month.begin), min(ended_at(entry), month.end)
        share = _shared_s(spans[bisect.bisect_right(ends, began) :], began, ended) / (ended - began)
        joules += (part.other_j + part.idle_j) * share
        seconds += part.seconds * share
    return Made(joules, seconds)


def _shared_s(spans: Iterable[Times], began: float, ended: float) -> float:
    shared_s = 0.0
    for since, until in spans:
        if since >= ended:
            break
        shared_s += min(ended, until) - max(began, since)
    return shared_s


def union(stages: Sequence[Times]) -> list[Times]:
    """Return the times in which at least one ran, none of them twice, in order."""
    found: list[Times] = []
    for since, until in sorted(stages):
        if found and since <= found[-1][1]:
            found[-1] = found[-1][0], max(until, found[-1][1])
        else:
            found.append((since, until))
    return found
