"""What is accepted, how much at a time, and what is told of it: the sections about requests."""

from __future__ import annotations

import msgspec


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = 8765
    max_body_mb: float = 16.0
    max_in_flight: int = 1024
    drain_s: float = 10.0
    background: bool = True  # turns, jobs, eval runs and batches are worked on here: one host of those over a catalog


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How limits and budgets are kept. What they are, `tokenworks limit` says."""

    wait_s: float = 30.0  # how long a request waits for room that those under way may still leave
    answer_tokens: int = 1024  # the most of a chat answer whose caller set no bound and has a limit
    shared: str = ""  # redis://host:6379/0 where several hosts share limits; empty: this host counts for itself


class AdmissionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whose turn it is at an engine, and how long it is waited for."""

    slots: int = 0  # requests that an engine works on at a time; 0: engines.max_batch
    deadline_s: float = 600.0  # for which answers are planned whose callers say no other
    deadlines_s: dict[str, float] = {}  # the same, by model


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is done beside the policies, which stand in `policies/` of the home."""

    detect: str = "off"  # off | raise: whether secrets and personal data in a prompt raise its label


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What callers may send and have done: files, fine-tuning jobs, evals."""

    max_file_mb: float = 512.0
    job_budget: str = "10m"  # of training, where a job says no number of epochs
    job_niceness: int = 10  # of a job's process, 0 to 19: how far training gives way to whoever answers
    eval_concurrency: int = 4  # items of one eval run that are asked at the same time
    batch_concurrency: int = 16  # lines of one batch that are asked at the same time, while nobody else asks
    background_concurrency: int = 16  # responses with `background: true` that are asked at the same time


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is told to others about the work; never a text or a key."""

    otlp_endpoint: str = ""  # an OpenTelemetry collector, http://host:4318; empty: no traces
    otlp_headers: str = ""  # sent to it: "name=value,name=value"
    service: str = "tokenworks"  # how this server is called there
    sample: float = 1.0  # share of the requests that bring no trace of their own
    log: str = "text"  # on standard error: text | json
