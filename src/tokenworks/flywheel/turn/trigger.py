"""When a task turns by itself: so much new feedback, so much time, or something that must be unlearned or learned."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokenworks.core.errors import ConfigError

_COUNT = re.compile(r"(\d+)\s+new\s+(corrections?|feedback)", re.IGNORECASE)
_SPAN = re.compile(r"(?:every\s+)?(\d+(?:\.\d+)?)\s*([smhd])", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class When:
    """The conditions of `turn.when`: the first that holds makes the task turn."""

    corrections: int | None = None
    feedback: int | None = None
    every_s: float | None = None


@dataclass(frozen=True)
class Standing:
    """What there is to turn for."""

    corrections: int  # since the last turn
    feedback: int
    since_s: float  # since the last turn, or since the first release
    due: str = ""  # an erasure, changed documents: the reason in words


def parse_when(text: str) -> When:
    """Return the conditions in `text`, such as "200 new corrections or 24h"; raise `ConfigError` naming the forms."""
    corrections, feedback, every = None, None, None
    for part in re.split(r"\s*(?:,|\bor\b)\s*", text.strip()):
        if found := _COUNT.fullmatch(part):
            if found[2].lower().startswith("correction"):
                corrections = int(found[1])
            else:
                feedback = int(found[1])
        elif found := _SPAN.fullmatch(part):
            every = float(found[1]) * _SECONDS[found[2].lower()]
        elif part.lower() != "never":
            raise ConfigError(
                f'turn.when: {part!r} is not understood; write "200 new corrections", "500 new feedback", "24h", '
                '"never", or several joined by "or"'
            )
    return When(corrections, feedback, every)


def span_s(text: str, key: str) -> float:
    """Return the seconds of a span such as "7d"; raise `ConfigError` naming `key`."""
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise ConfigError(f'{key} is {text!r}; write a span such as "90s", "15m", "24h" or "7d"')
    return float(found[1]) * _SECONDS[found[2].lower()]


def reason_to_turn(when: When, standing: Standing) -> str:
    """Return why the task should turn now, empty where nothing asks for it.

    Time alone is no reason where nothing new came in: the same data would make the same model.
    """
    if standing.due:
        return standing.due
    if when.corrections is not None and standing.corrections >= when.corrections > 0:
        return f"{standing.corrections} new corrections, {when.corrections} are enough"
    if when.feedback is not None and standing.feedback >= when.feedback > 0:
        return f"{standing.feedback} new feedback entries, {when.feedback} are enough"
    if when.every_s is not None and standing.since_s >= when.every_s and standing.feedback:
        return f"{standing.since_s / 3600:.1f} h since the last turn, and {standing.feedback} new feedback entries"
    return ""
