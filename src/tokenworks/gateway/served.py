"""What the gateway must know of a model version that may answer, and of one that is on trial beside it."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from tokenworks.core.destination import HERE, Destination


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A model version that may answer."""

    ref: str  # name@version
    label: str
    kind: str
    accepts: str = "restricted"  # the highest label of text that may go to it: lower for a server elsewhere
    owner: str = ""
    tenant: str = ""  # whose it is alone; empty: everybody's
    region: str = HERE  # where its own engine stands
    created_at: float = 0.0
    trial: OnTrial | None = None  # of an alias

    @property
    def destination(self) -> Destination:
        """Where its prompts go when its own engine answers."""
        return Destination(name=self.ref, region=self.region, clearance=self.accepts)


class OnTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A version that answers a share of the users, or beside the incumbent, shown to nobody."""

    id: str  # of the release that began it
    candidate: Served
    share: float
    mode: Literal["canary", "shadow"]
    broken: str = ""  # why the candidate's engine does not start; empty: it does

    def takes(self, unit: str) -> bool:
        """Return whether `unit`, a user, is among the share: always the same answer within one trial.

        Trials are independent of each other: who was in the last one is in the next by chance alone.
        """
        drawn = hashlib.sha256(f"{self.id}\0{unit}".encode()).digest()
        return int.from_bytes(drawn[:8]) < self.share * 2**64
