"""Entries of metered energy as stretches of time: when each was, and the part of it that lies within others."""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec

from tokenworks.ledger.entries import EnergyEntry, FarEnergyEntry, RequestEntry

AGREE = 1e-3  # an entry's parts make up its whole to that share
LEAST_J = 1e-6
_OF_BOTH = ("seconds", "metered_j", "requests_j", "idle_j", "other_j", "gap_s", "engine_s", "untold_j", "carried_j")
_FAR_TOKENS = ("prompt_tokens", "completion_tokens", "foreign_prompt_tokens", "foreign_completion_tokens")
_NOT_NEGATIVE = ("seconds", "metered_j", "requests_j", "idle_j", "other_j", "gap_s", "engine_s", "waiting_s", "error")


Metered = TypeVar("Metered", bound=EnergyEntry | FarEnergyEntry)


def began_at(entry: EnergyEntry | FarEnergyEntry) -> float:
    """Return the Unix time since which an entry stands."""
    return ended_at(entry) - entry.gap_s - entry.seconds


def ended_at(entry: EnergyEntry | FarEnergyEntry) -> float:
    """Return the Unix time until which it stands: what was not read until `at` is in an entry to come."""
    return entry.at - entry.waiting_s


def is_sound(entry: EnergyEntry | FarEnergyEntry) -> bool:
    """Return whether an entry can be meant: finite, not negative, and its parts make up what is metered.

    Joules that stand for no time at all cannot be.
    """
    foreign_j = entry.foreign_j if isinstance(entry, FarEnergyEntry) else 0.0
    values = [foreign_j, *(getattr(entry, name) for name in _NOT_NEGATIVE)]
    if not all(map(math.isfinite, (*values, entry.untold_j, entry.carried_j, entry.at))) or min(values) < 0:
        return False
    parts_j = entry.requests_j + entry.other_j + entry.idle_j + foreign_j
    if entry.metered_j > 0 and not entry.seconds > 0:
        return False
    return abs(parts_j - entry.metered_j) <= AGREE * entry.metered_j + LEAST_J


def within(entry: Metered, begin: float, end: float) -> Metered | None:
    """Return the part of a sound entry that lies between two Unix times, in proportion to its time; None: nothing."""
    began, ended = began_at(entry), ended_at(entry)
    if began >= ended or (begin <= began and entry.at < end):
        return entry if begin <= entry.at < end else None
    part = (min(ended, end) - max(began, begin)) / (ended - began)
    if part <= 0:
        return None
    scaled: dict[str, float] = {name: getattr(entry, name) * part for name in _OF_BOTH}
    if isinstance(entry, FarEnergyEntry):
        scaled |= {name: getattr(entry, name) * part for name in ("foreign_j", "foreign_s")}
        scaled |= {name: round(getattr(entry, name) * part) for name in _FAR_TOKENS}
    waiting_s = entry.waiting_s if begin <= entry.at < end else 0.0
    return msgspec.structs.replace(entry, **scaled, waiting_s=waiting_s)


def joules_of(entry: RequestEntry) -> float | None:
    """Return the joules of a request; None where it has none, or a figure that no meter can mean."""
    joules = entry.joules
    return joules if joules is not None and 0 <= joules < math.inf else None


def error_of(entry: RequestEntry) -> float:
    """Return the standard uncertainty of a request's joules, as a share; 0 for a figure that cannot be meant."""
    return entry.joules_error if 0 <= entry.joules_error < math.inf else 0.0


def engine_s_of(entry: RequestEntry) -> float:
    """Return the engine time of a request; 0 for a figure that cannot be meant."""
    return entry.engine_s if 0 <= entry.engine_s < math.inf else 0.0
