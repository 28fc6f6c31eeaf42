"""What a piece of work used."""

from __future__ import annotations

import msgspec

COARSE = "coarse-"  # before the grade of a meter: who had how much of it is known by intervals, not by engine steps


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request, as delivered to the caller."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int = 0  # of `completion_tokens`, those that are not in the answer

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a piece of work took of the machines, as a share of what was metered."""

    engine_s: float = 0.0  # of the engine's time
    joules: float | None = None  # None: nothing was metered
    joules_error: float = 0.0  # standard uncertainty, as a share
    meter: str = ""  # how good the meter is: wall | nvml | rapl | sampled | model; gap: unknown; coarse-...: elsewhere

    def __add__(self, other: Spent) -> Spent:
        """Return both together: not metered where one of them was not."""
        metered = self.joules is not None and other.joules is not None
        joules = (self.joules or 0.0) + (other.joules or 0.0)
        errors = (self.joules or 0.0) * self.joules_error + (other.joules or 0.0) * other.joules_error
        return Spent(
            engine_s=self.engine_s + other.engine_s,
            joules=joules if metered else None,
            joules_error=errors / joules if metered and joules else 0.0,
            meter=other.meter if metered else self.meter or other.meter,
        )


NOTHING_SPENT = Spent()
