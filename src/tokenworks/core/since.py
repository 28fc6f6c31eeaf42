"""A moment in the past as people write it: how long ago, or when."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tokenworks.core.errors import ConfigError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_since(text: str, now: float) -> float:
    """Return `30d`, `12h`, `2026-11-01` or `2026-11-01T08:00` as Unix seconds; a moment without a zone is UTC.

    Raises `ConfigError` for anything else, and for a moment that is yet to come.
    """
    if found := re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([smhdw])", text.strip()):
        return now - float(found[1]) * _UNITS_S[found[2]]
    at = parse_moment(text, refusal=f"--since {text!r}: write 30d, 12h, 90m, 2w or a date such as 2026-11-01")
    if at > now:
        raise ConfigError(f"--since {text}: that is yet to come")
    return at


def parse_moment(text: str, *, refusal: str) -> float:
    """Return a date or an instant as Unix seconds; without a zone it is UTC. Raises `ConfigError(refusal)`."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(refusal) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
