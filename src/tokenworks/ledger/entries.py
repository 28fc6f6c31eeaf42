"""What can be written to the ledger. An entry is a fact: it is never changed, and holds no prompt or answer text."""

from __future__ import annotations

import msgspec

from tokenworks.core.model import Release


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """A fact with its time, in seconds since the Unix epoch."""

    at: float


class RequestEntry(Entry, frozen=True, kw_only=True, tag="request"):
    """One request for tokens, however it ended."""

    request_id: str
    endpoint: str
    outcome: str  # ok | refused | failed | cancelled
    status: int  # HTTP
    tenant: str = ""
    key_id: str = ""
    model: str = ""  # as asked for
    version: str = ""  # as answered: name@version
    engine: str = ""
    label: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    ttft_s: float = 0.0
    latency_s: float = 0.0
    salt: str = ""  # hex; digests are sha256(salt + bytes), so a log reader cannot guess short texts
    prompt_digest: str = ""
    answer_digest: str = ""
    error: str = ""  # the error code, never the text of a prompt


class FeedbackEntry(Entry, frozen=True, kw_only=True, tag="feedback"):
    """What somebody thought of an answer. The text of a correction lies beside the log."""

    feedback_id: str
    request_id: str
    key_id: str = ""
    tenant: str = ""
    rating: int | None = None  # -1, 0, 1
    has_correction: bool = False
    salt: str = ""
    correction_digest: str = ""


class ReleaseEntry(Entry, frozen=True, kw_only=True, tag="release"):
    """An alias points to another model version from now on."""

    release: Release


class StageEntry(Entry, frozen=True, kw_only=True, tag="stage"):
    """A stage of the line finished, by work or by a cache hit."""

    task: str
    stage: str
    key: str
    outputs: dict[str, str]
    seconds: float
    hit: bool


class ModelEntry(Entry, frozen=True, kw_only=True, tag="model"):
    """A model version was registered."""

    model: str
    version: int
    folder: str
    label: str


class TurnEntry(Entry, frozen=True, kw_only=True, tag="turn"):
    """A turn of the flywheel ended."""

    task: str
    number: int
    verdict: str  # promote | reject | need-more | nothing-new
    candidate: str = ""
    incumbent: str = ""
    evidence: str = ""
    corrections: int = 0
    seconds: float = 0.0


AnyEntry = RequestEntry | FeedbackEntry | ReleaseEntry | StageEntry | ModelEntry | TurnEntry
