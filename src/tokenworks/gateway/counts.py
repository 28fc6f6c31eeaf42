"""Requests counted by endpoint, model, outcome and destination, a few additions each; metrics.py shows them."""

from __future__ import annotations

from tokenworks.gateway.tally import Distribution
from tokenworks.ledger.entries import RequestEntry, Transfer

# Buckets of OpenTelemetry's semantic conventions for generative AI, with finer ones below for classifiers.
DURATION_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


class Model:
    """What one endpoint of one model version came to."""

    __slots__ = ("cached", "completion", "duration", "per_token", "prompt", "ttft")

    def __init__(self) -> None:
        self.prompt = self.cached = self.completion = 0
        self.duration, self.ttft, self.per_token = (
            Distribution(DURATION_S),
            Distribution(TTFT_S),
            Distribution(PER_TOKEN_S),
        )


class Place:
    """What one destination came to."""

    __slots__ = ("attempts", "failures", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.attempts = self.failures = self.sent_bytes = self.received_bytes = 0


class Counts:
    """What all requests came to."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str, int], int] = {}  # endpoint, version, outcome, status
        self.models: dict[tuple[str, str], Model] = {}  # endpoint, version
        self.places: dict[tuple[str, str], Place] = {}  # destination, region
        self.refusals: dict[str, int] = {}  # by code

    def count(self, entry: RequestEntry) -> None:
        """Take in a request that has ended. Names that a caller made up are not counted by name: `version` is ours."""
        outcome = entry.outcome
        key = (entry.endpoint, entry.version, outcome, entry.status)
        model = self.models.get(key[:2]) or self.models.setdefault(key[:2], Model())
        if not entry.part_of:  # requests are callers', tokens are engines'
            self.requests[key] = self.requests.get(key, 0) + 1
        if not entry.samples:
            model.prompt += entry.prompt_tokens
            model.cached += entry.cached_tokens
            model.completion += entry.completion_tokens
        if outcome == "ok" and not entry.part_of:
            model.duration.observe(entry.latency_s)
            model.ttft.observe(entry.ttft_s)
            if entry.completion_tokens > 1 and not entry.samples:
                model.per_token.observe((entry.latency_s - entry.ttft_s) / (entry.completion_tokens - 1))
        elif outcome == "refused" and not entry.part_of:
            self.refusals[entry.error] = self.refusals.get(entry.error, 0) + 1
        if entry.transfers:
            self._went(entry.transfers, failed=outcome == "failed")

    def _went(self, transfers: tuple[Transfer, ...], *, failed: bool) -> None:
        """Count each attempt; all but the last have failed, or there would be no next one."""
        for one in transfers:
            key = (one.destination, one.region)
            place = self.places.get(key) or self.places.setdefault(key, Place())
            place.attempts += 1
            place.sent_bytes += one.sent_bytes
            place.received_bytes += one.received_bytes
            place.failures += failed or one is not transfers[-1]
