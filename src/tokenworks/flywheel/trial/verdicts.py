"""What a piece of feedback says of the answer it is about: a success in [0, 1], or nothing."""

from __future__ import annotations

from collections.abc import Callable

from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import FeedbackEntry

TextOf = Callable[[str], str | None]  # by the name that bodies have; None where the text was not kept
SIGNALS = {"accepted": 1.0, "edited": 0.0, "regenerated": 0.0}


def success_of(entry: FeedbackEntry, answer_of: TextOf, correction_of: TextOf) -> float | None:
    """Return how good the answer was: by its outcome, else rating, else correction, else what the user did with it.

    A correction that cannot be compared, because a text was not kept, says that the answer was wrong.
    """
    if entry.outcome is not None:
        return min(max(entry.outcome, 0.0), 1.0) if entry.outcome == entry.outcome else None
    if entry.rating:
        return 1.0 if entry.rating > 0 else 0.0
    if entry.has_correction:
        return float(
            agrees(entry.feedback_id, answer_of(named(entry.tenant, entry.request_id)), correction_of) or False
        )
    return SIGNALS.get(entry.signal)


def agrees(feedback_id: str, answer: str | None, correction_of: TextOf) -> bool | None:
    """Return whether `answer` is what the correction says, but for blanks; None where a text was not kept."""
    correction = correction_of(feedback_id)
    if answer is None or correction is None:
        return None
    return " ".join(answer.split()) == " ".join(correction.split())
