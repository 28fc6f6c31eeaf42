"""Time as an argument, so that tests and replays can hold it still."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Protocol

from tokenworks.core.errors import ConfigError


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        ...


class SystemClock:
    """The machine's own clock: its own functions, for it is looked at several times a request."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def seconds(text: str) -> float:
    """Return the seconds of a duration like 90s, 5m, 1h or 7d; raise `ConfigError` for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no duration; write a number and s, m, h or d, such as 90s or 1h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def iso(seconds: float) -> str:
    """Return Unix seconds as an ISO 8601 instant in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
