"""What a piece of work used."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request, as delivered to the caller."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a piece of work took of the machines, as a share of what was metered."""

    engine_s: float = 0.0  # of the engine's time
    joules: float | None = None  # None: nothing was metered
    joules_error: float = 0.0  # standard uncertainty, as a share
    meter: str = ""  # how good the meter is: wall | nvml | rapl | sampled | model
