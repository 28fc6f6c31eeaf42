"""One way to have a month's tokens, and what a month brings: data alone."""

from __future__ import annotations

import msgspec


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """What a month brings."""

    requests: float
    prompt_tokens: float
    answer_tokens: float

    @property
    def tokens(self) -> float:
        """Return all tokens."""
        return self.prompt_tokens + self.answer_tokens

    def times(self, share: float) -> Volume:
        """Return `share` of it."""
        return Volume(
            requests=self.requests * share,
            prompt_tokens=self.prompt_tokens * share,
            answer_tokens=self.answer_tokens * share,
        )


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One way, for one month. None: nobody says, or there is no such figure."""

    kind: str  # this site | bought | rented | hosted API | hybrid
    machine: str = ""
    devices_per_copy: int = 0
    copies: int = 0
    devices: int = 0
    precision: str = ""
    reaches_targets: bool = False
    peak_utilisation: float = 0.0
    ttft_p95_s: float | None = None
    tpot_p95_s: float | None = None
    latency_p95_s: float | None = None
    tokens_per_s_each: float = 0.0  # answer tokens that a device makes in its steady state within the targets
    utilisation: float = 0.0  # mean over the month
    usd_month: float | None = None
    usd_low: float | None = None
    usd_high: float | None = None
    usd_per_million: float | None = None  # of all tokens, prompts and answers
    joules_per_token: float | None = None  # of answers, at the building's meter
    kwh_month: float | None = None
    co2_kg_month: float | None = None
    capital_usd: float = 0.0
    break_even_utilisation: float | None = None  # against the hosted API
    break_even_months: float | None = None
    permitted_share: float = 1.0  # of the requests, by their labels
    clearance: str = "restricted"
    covers: float = 1.0  # share of the requests that it answers
    calibration: str = ""
    note: str = ""

    @property
    def allowed(self) -> bool:
        """Return whether it answers every request in time and no label forbids it."""
        return self.reaches_targets and self.permitted_share >= 1.0 and self.usd_month is not None
