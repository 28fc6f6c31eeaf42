"""What an answer or an error says of the destination: may another one be asked, and how long should this one rest."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tokenworks.core.errors import EngineError
from tokenworks.serving.answer import EngineAnswer
from tokenworks.serving.far.server import UnspokenError
from tokenworks.serving.supervisor import NotReadyError
from tokenworks.serving.upstream import UnreachedError

BUSY = frozenset({429, 503, 529})
OURS = frozenset(
    {401, 402, 403, 404, 407, 408}
)  # from a server elsewhere: our key, model or bill is wrong, not the caller's

NOT_ITS_FAULT = frozenset({"starting", "unspoken"})
NOTHING_SENT = NOT_ITS_FAULT | {"unreached", "late"}  # no word of the request went anywhere


class FailedError(EngineError):
    """A destination did not answer before anything was passed on. `how` is the ledger's word for it."""

    def __init__(
        self, message: str, *, how: str, answer: EngineAnswer | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.how = how
        self.answer = answer  # what it said, where it said something
        self.retry_after_s = retry_after_s


def failure_of(answer: EngineAnswer, *, here: bool, name: str) -> FailedError | None:
    """Return why another destination should be asked, None where this answer stands."""
    status = answer.status
    if status in BUSY:
        return FailedError(
            f"{name} has no room (status {status})", how="busy", answer=answer, retry_after_s=retry_after_s(answer)
        )
    if status >= 500:
        return FailedError(f"{name} failed with status {status}", how="failed", answer=answer)
    if not here and (status in OURS or 300 <= status < 400):
        return FailedError(
            f"{name} does not let this gateway in (status {status}); its operator's log says more", how="refused"
        )
    return None


def error_of(error: EngineError, name: str) -> FailedError:
    """Return what went wrong as a failure of `name`."""
    if isinstance(error, FailedError):
        return error
    if isinstance(error, NotReadyError):
        return FailedError(str(error), how="starting", retry_after_s=error.retry_after_s)
    if isinstance(error, UnspokenError):
        return FailedError(f"{name} cannot be asked this: {error}", how="unspoken")
    return FailedError(str(error), how="unreached" if isinstance(error, UnreachedError) else "lost")


def retry_after_s(answer: EngineAnswer) -> float | None:
    """Return when to come back: seconds, or a date (RFC 9110, 10.2.3); None where nothing was said."""
    said = next((value for name, value in answer.headers if name == "retry-after"), "").strip()
    if said.isdecimal() and len(said) < 9:
        return float(said)
    try:
        at = parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
