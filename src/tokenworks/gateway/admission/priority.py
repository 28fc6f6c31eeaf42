"""How callers name a priority."""

from __future__ import annotations

from tokenworks.core.priority import NAMES, Priority
from tokenworks.gateway.errors import bad_request

HEADER = "x-tokenworks-priority"
_TIERS = {"priority": Priority.INTERACTIVE, "default": None, "auto": None, "flex": Priority.BATCH, "scale": None}


def named(name: str) -> Priority:
    """Return the priority called `name`; raise the 400 that lists those there are."""
    try:
        return Priority(NAMES.index(name.lower()))
    except ValueError:
        raise bad_request(f"{HEADER} {name[:40]!r} is none of {', '.join(NAMES)}", param=HEADER) from None


def of_tier(tier: str) -> Priority | None:
    """Return what OpenAI's `service_tier` says; None where it says nothing. One that OpenAI lacks says nothing too."""
    return _TIERS.get(tier)
