"""The rules that a request must pass before its text is read: whose it is, consent, erasure, age and label."""

from __future__ import annotations

from collections.abc import Sequence

from tokenworks.core.label import Label
from tokenworks.core.task import Task
from tokenworks.governance.keys import HOUSE
from tokenworks.ledger.entries import ErasureEntry, RequestEntry

_DAY_S = 86_400.0
SEARCH = "search"


class Rules:
    """What of the log the task `task` may learn from."""

    def __init__(self, task: Task, until: float, erasures: Sequence[ErasureEntry]) -> None:
        self.task, self.until = task, until
        self._oldest = until - task.turn.retention_days * _DAY_S
        self._requests = {entry.request_id for entry in erasures if entry.request_id}
        self._users: dict[tuple[str, str], float] = {}
        for entry in erasures:
            if entry.user:
                user = (entry.tenant, entry.user)
                self._users[user] = max(entry.at, self._users.get(user, entry.at))

    def is_about(self, entry: RequestEntry) -> bool:
        """Return whether the request was for this task. Searches are for every task that makes the search better.

        Our own judging and teaching is no traffic, nor are the samples that an answer was chosen from.
        """
        if entry.tenant == HOUSE or entry.part_of:
            return False
        if self.task.kind == "embed":
            return entry.endpoint == SEARCH
        return entry.model.partition("@")[0] == self.task.name

    def why_not(self, entry: RequestEntry) -> str:
        """Return why the request may not be learned from, empty where it may."""
        if self.erased(entry):
            return "erased"
        if not entry.learn:
            return "no consent"
        if entry.outcome != "ok" or entry.arm == "shadow":
            return "not answered"
        if entry.at < self._oldest:
            return "older than is kept"
        if entry.label and Label.parse(entry.label) > self.task.label:
            return "label above the task's"
        return ""

    def erased(self, entry: RequestEntry) -> bool:
        """Return whether the request, or everything of its user up to then, was erased."""
        return entry.request_id in self._requests or self.gone(entry.tenant, entry.user, entry.at)

    def gone(self, tenant: str, user: str, at: float) -> bool:
        """Return whether what a user did at a time was erased later."""
        return bool(user) and at <= self._users.get((tenant, user), float("-inf"))
