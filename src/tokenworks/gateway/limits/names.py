"""What counters are called among gateways: every host writes the same name, and can read it."""

from __future__ import annotations

import time
from functools import lru_cache

import msgspec

from tokenworks.gateway.limits.book import Kind, Part
from tokenworks.gateway.limits.claims import ENTRIES, IN_ALL, Claim
from tokenworks.governance.limits import Subject
from tokenworks.ledger.spending import day_of

LATE_S = 2 * 86_400.0  # a request that began yesterday is charged to yesterday


def part_of(claim: Claim) -> Part:
    """Return the claim as books know it."""
    kind: Kind = "budget" if claim.kind in ENTRIES else "hold" if claim.kind == "concurrency" else "rate"
    return Part(_name(claim.kind, claim.window, claim.subject), kind, claim.limit, claim.amount)


@lru_cache(maxsize=4096)
def named(name: str) -> tuple[str, str, Subject]:
    """Return the kind, window and subject of a counter."""
    kind, window, *subject = msgspec.json.decode(name, type=list[str])
    return kind, window, Subject(*subject)


def is_requests(part: Part) -> bool:
    """Return whether it is a rate of requests, of which nothing is given back."""
    return part.name.startswith('["requests"')


def is_current(name: str) -> bool:
    """Return whether a budget may still be asked for: not one of a day or month that is long over."""
    _, window, _ = named(name)
    return window == IN_ALL or window >= day_of(time.time() - LATE_S)[: len(window)]


@lru_cache(maxsize=4096)
def _name(kind: str, window: str, subject: Subject) -> str:
    length = 5 if subject.grant else 4 if subject.project else 3  # as it was before there were grants, and projects
    return msgspec.json.encode([kind, window, *subject[:length]]).decode()
