"""Until when an answer is worth something, from what callers send. All times are on the monotonic clock."""

from __future__ import annotations

from tokenworks.gateway.errors import bad_request

HEADER = "x-tokenworks-deadline-ms"
LONGEST_MS = 86_400_000


def whole_answer_s(header: str) -> float:
    """Return the seconds that `x-tokenworks-deadline-ms` gives the whole answer; raise 400 where it is no such time."""
    plain = header.isascii() and header.isdecimal() and len(header) <= 12
    if not plain or not 0 < int(header) <= LONGEST_MS:
        raise bad_request(
            f"{HEADER} {header[:40]!r} is no whole number of milliseconds from 1 to {LONGEST_MS}", param=HEADER
        )
    return int(header) / 1000


def patience_s(header: str) -> float | None:
    """Return the seconds that an SDK says it listens in vain (`x-stainless-timeout`); None where it says nothing.

    It is no field that anybody wrote by hand: what cannot be read is not refused.
    """
    try:
        seconds = float(header)
    except ValueError:
        return None
    return seconds if 0 < seconds * 1000 <= LONGEST_MS else None
