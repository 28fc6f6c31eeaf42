"""What somebody thinks of an answer: when it is taken, and what of it is written down. Knows no wire and no storage."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.core.errors import RefusedError
from tokenworks.core.ids import content_id, pseudonym
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry

MOST_CHARACTERS = 1 << 20
PER_REQUEST = 20  # feedback entries of one key on one request
Text = Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]


class Opinion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One piece of feedback as it is sent."""

    request_id: Id
    rating: Annotated[int, Meta(ge=-1, le=1)] | None = None
    correction: Text | None = None  # what would have been right
    comment: Text | None = None
    outcome: bool | Annotated[float, Meta(ge=0, le=1)] | None = None  # what became of it, known hours or days later
    preferred_over: Id | None = None  # the request with the worse of two answers
    signal: Literal["accepted", "edited", "regenerated"] | None = None  # what the user did with the answer
    user: Annotated[str, Meta(max_length=256)] | None = None  # whose opinion it is

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        said = (self.rating, self.correction, self.comment, self.outcome, self.preferred_over, self.signal)
        return all(one is None for one in said)


class NotTakenError(RefusedError):
    """Feedback that is not taken, with the status and code that a caller over HTTP is told."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


def require_something(opinion: Opinion) -> None:
    """Raise where an opinion says nothing."""
    if opinion.empty:
        ways = "send rating (-1, 0, 1), correction, outcome, preferred_over, signal or comment"
        raise NotTakenError(400, "invalid_value", f"there is nothing in this feedback; {ways}")


def require_own(request_id: str, asked: RequestEntry | None, *, tenant: str, erased: bool) -> RequestEntry:
    """Return the request if `tenant` asked it and its texts were not erased; raise otherwise."""
    if asked is None or asked.tenant != tenant:
        raise NotTakenError(
            404,
            "request_not_found",
            f"request {request_id!r} is not known here; send the x-request-id of an answer you were given",
            "request_id",
        )
    if erased:
        raise NotTakenError(
            410,
            "request_erased",
            f"request {request_id!r} was erased; nothing can be said of it any more",
            "request_id",
        )
    return asked


def require_comparable(better: RequestEntry, worse: RequestEntry) -> None:
    """Raise unless the two answers can be compared: two requests to one model."""
    if better.request_id == worse.request_id:
        raise NotTakenError(400, "invalid_value", "an answer cannot be preferred over itself", "preferred_over")
    if better.model != worse.model:
        raise NotTakenError(
            400,
            "invalid_value",
            f"answers of {better.model!r} and of {worse.model!r} cannot be compared; name two requests to one model",
            "preferred_over",
        )


def require_room(given: Sequence[FeedbackEntry], key_id: str) -> None:
    """Raise where this key has said enough of the request."""
    if sum(entry.key_id == key_id for entry in given) >= PER_REQUEST:
        raise NotTakenError(
            429,
            "too_much_feedback",
            f"{PER_REQUEST} feedback entries of one key on one request are the most; the latest of each kind counts",
        )


def feedback_id(opinion: Opinion, *, key_id: str, once: str) -> str:
    """Return the id: the same for the same words of the same key, or for the same idempotency key."""
    return "fb-" + content_id([key_id, opinion.request_id, once or content_id(opinion)])[:32]


def entry_of(opinion: Opinion, *, key_id: str, tenant: str, once: str) -> FeedbackEntry:
    """Return what is written down; the texts lie beside the log."""
    salt = os.urandom(16)
    return FeedbackEntry(
        at=time.time(),
        feedback_id=feedback_id(opinion, key_id=key_id, once=once),
        request_id=opinion.request_id,
        key_id=key_id,
        tenant=tenant,
        rating=opinion.rating,
        has_correction=opinion.correction is not None,
        salt=salt.hex() if opinion.correction is not None else "",
        correction_digest=_digest(salt, opinion.correction),
        user=pseudonym(tenant, opinion.user or ""),
        outcome=None if opinion.outcome is None else float(opinion.outcome),
        preferred_over=opinion.preferred_over or "",
        signal=opinion.signal or "",
    )


def same(before: FeedbackEntry, opinion: Opinion) -> bool:
    """Return whether `before` says what `opinion` says."""
    outcome = None if opinion.outcome is None else float(opinion.outcome)
    said = (opinion.rating, outcome, opinion.preferred_over or "", opinion.signal or "")
    if (before.rating, before.outcome, before.preferred_over, before.signal) != said:
        return False
    return before.correction_digest == _digest(bytes.fromhex(before.salt), opinion.correction)


def texts_of(opinion: Opinion, entry: FeedbackEntry) -> dict[str, str]:
    """Return the texts to keep beside the log, by their ids."""
    texts = {entry.feedback_id: opinion.correction, f"{entry.feedback_id}.comment": opinion.comment}
    return {name: text for name, text in texts.items() if text is not None}


def shown(entry: FeedbackEntry) -> dict[str, Any]:
    """Return the feedback object that callers see."""
    return {
        "id": entry.feedback_id,
        "object": "feedback",
        "request_id": entry.request_id,
        "created_at": int(entry.at),
        "rating": entry.rating,
        "has_correction": entry.has_correction,
        "outcome": entry.outcome,
        "preferred_over": entry.preferred_over or None,
        "signal": entry.signal or None,
    }


def _digest(salt: bytes, text: str | None) -> str:
    return hashlib.sha256(salt + text.encode()).hexdigest() if text is not None else ""
