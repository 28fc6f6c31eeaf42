"""The ledger folded into a trial, incrementally: what came since the last look is read, and nothing else.

The same ledger gives the same trial, so a process that was killed may begin anew, or go on from what was kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.flywheel.trial.monitor import Arm
from tokenworks.flywheel.trial.terms import Terms
from tokenworks.flywheel.trial.trial import Trial
from tokenworks.flywheel.trial.verdicts import TextOf, agrees, success_of
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.reader import read

LAG_S = 1.0  # entries so young wait: another writer may still have something earlier to tell
SHADOW = "-shadow"  # what a shadow's request id has more than the one it answers beside
ARMS: dict[str, Arm] = {"incumbent": "incumbent", "canary": "candidate", "shadow": "candidate"}


class Asked(msgspec.Struct, array_like=True, frozen=True):
    """A request of the trial that nobody has judged yet."""

    arm: Arm
    user: str


class _Kept(msgspec.Struct, frozen=True):
    trial: Trial
    alias: str
    places: dict[str, int]
    asked: dict[str, Asked]


def _unknown(identity: str) -> str | None:
    return None


class Watch:
    """Follows one trial on the ledger at `root`."""

    def __init__(
        self, root: Path, terms: Terms, *, alias: str, answer_of: TextOf = _unknown, correction_of: TextOf = _unknown
    ) -> None:
        self.trial = Trial.begin(terms)
        self._root, self._alias = root, alias
        self._answer_of, self._correction_of = answer_of, correction_of
        self._places: dict[str, int] = {}  # by writer: the last entry that was read
        self._asked: dict[str, Asked] = {}

    @classmethod
    def from_bytes(
        cls, data: bytes, root: Path, *, answer_of: TextOf = _unknown, correction_of: TextOf = _unknown
    ) -> Self:
        """Return the watch kept in `data`; raise `DataError` where it is none."""
        try:
            kept = msgspec.msgpack.decode(data, type=_Kept)
        except msgspec.DecodeError as error:
            raise DataError(f"not the state of a watch ({error}); begin anew: the ledger has all it needs") from None
        watch = cls(root, kept.trial.terms, alias=kept.alias, answer_of=answer_of, correction_of=correction_of)
        watch.trial, watch._places, watch._asked = kept.trial, kept.places, kept.asked
        return watch

    def to_bytes(self) -> bytes:
        """Return the state, the place in the ledger included."""
        return msgspec.msgpack.encode(_Kept(self.trial, self._alias, self._places, self._asked))

    def advance(self, now: float) -> Trial:
        """Read what is new, up to a second before `now` (Unix seconds); stop at the first decision."""
        for place, entry in read(self._root, after=self._places):
            if entry.at > now - LAG_S or self.trial.decision:
                break
            if isinstance(entry, RequestEntry):
                self._request(entry)
            elif isinstance(entry, FeedbackEntry):
                self._feedback(entry)
            self._places[place.writer] = place.index
        self.trial.tick(now - LAG_S)
        return self.trial

    def _request(self, entry: RequestEntry) -> None:
        terms = self.trial.terms
        arm = ARMS.get(entry.arm)
        if arm is None or entry.model != self._alias or entry.at < terms.began_at:
            return
        # A failure may come before any version is known; a version that is known must be that of the arm.
        if entry.version not in ("", terms.incumbent if arm == "incumbent" else terms.candidate):
            return
        if entry.outcome not in ("ok", "failed"):
            return  # refused for the caller's own reasons, or cancelled by the caller: no model's merit
        unit = entry.user or entry.conversation  # what the gateway assigns to an arm; else each request by itself
        failed = entry.outcome == "failed"
        slow = None if failed or terms.slow_s <= 0 else entry.latency_s > terms.slow_s
        if not failed and entry.arm != "shadow":
            self._asked[entry.request_id] = Asked(arm, unit)
        elif not failed:
            self._asked[entry.request_id.removesuffix(SHADOW) + SHADOW] = Asked(arm, unit)
        self.trial.observe(arm, at=entry.at, user=unit, slow=slow, failed=failed)

    def _feedback(self, entry: FeedbackEntry) -> None:
        """Take the first verdict on a request. Later ones change nothing: what was bet on cannot be taken back."""
        asked = self._asked.get(entry.request_id)
        if asked is None:
            return
        success = success_of(entry, self._answer_of, self._correction_of)
        if success is None:
            return
        del self._asked[entry.request_id]
        if self.trial.terms.mode == "canary":
            self.trial.observe(asked.arm, at=entry.at, user=asked.user, success=success, source=entry.key_id)
            return
        beside = self._asked.pop(entry.request_id + SHADOW, None)
        shadow = named(entry.tenant, entry.request_id + SHADOW)
        right = agrees(entry.feedback_id, self._answer_of(shadow), self._correction_of)
        if beside is None or not entry.has_correction or right is None:
            return  # only a correction says what a shadow's answer, which nobody saw, would have been worth
        self.trial.observe_pair(
            at=entry.at, user=asked.user, incumbent=success, candidate=float(right), source=entry.key_id
        )
