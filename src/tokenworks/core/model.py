"""A model version and its release: what was made, and what answers in production."""

from __future__ import annotations

import msgspec


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable model folder with everything that is known of it."""

    model: str  # the task's name
    version: int  # 1, 2, ...
    folder: str  # digest of the folder in the artifact store (signature and BOM included)
    kind: str  # classify | extract | embed | complete | chat
    label: str  # the highest of all it was trained on
    licence: str
    owner: str
    base: str  # what training started from
    stage_key: str  # identity of the train stage that made it: the root of its lineage
    evaluation: str  # digest of the evaluation report, JSON
    parameters: int = 0
    tenant: str = ""  # whose it is alone; empty: everybody's who is cleared for its label
    created_at: float = 0.0

    @property
    def ref(self) -> str:
        """`name@version`, the exact way to ask for this version."""
        return f"{self.model}@{self.version}"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded step: from `at` on, `alias` is answered by `model@version`, but for the share of a canary."""

    id: str
    alias: str
    model: str
    version: int  # 0: nothing answers any more
    action: str  # promote | rollback | withdraw | canary (a trial begins) | end (a trial is over)
    reason: str
    by: str
    at: float
    evidence: str = ""  # digest of the gate's verdict, JSON
    canary: int = 0  # the version on trial; 0: none
    share: float = 0.0  # of the users, whose requests the version on trial answers; in a shadow: that it is shown
    mode: str = ""  # canary | shadow: a shadow's answers go to nobody
