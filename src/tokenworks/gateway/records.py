"""What the gateway writes down and looks up: the ledger, texts beside it, and keys under which it was asked before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tokenworks.gateway.admission.remembered import Remembered
from tokenworks.gateway.feedback import Given, Texts
from tokenworks.gateway.notes import BodyStore, Notes, Writer
from tokenworks.gateway.responses.kept import KeptTexts
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.inflight import Inflight


class Bodies(BodyStore, Texts, KeptTexts, Protocol):
    """Texts beside the log."""


class Rows(Given, Protocol):
    """Requests and feedback on the ledger, by name; asked in threads."""

    def request(self, request_id: str, tenant: str) -> RequestEntry | None:
        """Return the tenant's request."""
        ...


@dataclass(frozen=True, kw_only=True)
class Records:
    """Where everything is written down. Prompts and answers are kept where `keep_bodies` says so."""

    ledger: Writer
    bodies: Bodies
    keep_bodies: bool
    lookup: Rows
    idempotency: Remembered | None = None  # without it every request is asked
    inflight: Inflight | None = None  # where the tokens of streams outlive a kill

    @property
    def texts(self) -> Bodies | None:
        """Prompts and answers; None where none are kept."""
        return self.bodies if self.keep_bodies else None

    def notes(self) -> Notes:
        """Return what writes entries and texts; one for all layers."""
        return Notes(self.ledger, bodies=self.texts, find=self.lookup.request, inflight=self.inflight)
