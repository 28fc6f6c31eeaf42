"""How urgent it is, and until when: priority and deadline as the caller, its key and the house have them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field

from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.deadline import patience_s, whole_answer_s
from tokenworks.gateway.admission.priority import named, of_tier
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.governance.keys import HOUSE

HANGING_UP_S = 1.0  # an SDK that waits no longer says so itself: what ends by our hand looks like a failure to it
_FACES = {"batch": Priority.BATCH}


@dataclass(frozen=True)
class Terms:
    """`deadline_s` is what an answer may take where nobody says it; `deadlines_s` by model."""

    deadline_s: float = 600.0
    deadlines_s: Mapping[str, float] = field(default_factory=dict)

    def usual_s(self, model: str) -> float:
        """Return what an answer of `model` may take where its caller does not say."""
        return self.deadlines_s.get(model, self.deadline_s)

    def __call__(self, exchange: Exchange, proceed: Handle) -> Awaitable[Reply]:
        """Set priority and deadline; raise 400 for those that cannot be meant."""
        exchange.priority = _priority(exchange)
        self._set_deadline(exchange)
        return proceed(exchange)

    def _set_deadline(self, exchange: Exchange) -> None:
        if exchange.due_ms:
            exchange.deadline_s = exchange.cut_s = exchange.started_s + whole_answer_s(exchange.due_ms)
            return
        if (exchange.patience and be_patient(exchange)) or exchange.priority >= Priority.BATCH:
            return  # of what comes after the interactive nobody waits for the end
        exchange.deadline_s = exchange.started_s + self.usual_s(exchange.what.model)


def be_patient(exchange: Exchange) -> bool:
    """Set the deadline that the caller's SDK says; return whether it says one."""
    patient_s = patience_s(exchange.patience)
    if patient_s is None:
        return False
    exchange.deadline_s = exchange.started_s + patient_s
    if not exchange.what.stream:  # an SDK listens so long for each piece: a stream may take longer as a whole
        exchange.cut_s = exchange.deadline_s + HANGING_UP_S
    return True


def _priority(exchange: Exchange) -> Priority:
    """Return the priority asked for, else that of whose work it is; what the factory or a batch asks stays that."""
    usual = Priority.FLYWHEEL if exchange.who.tenant == HOUSE else _FACES.get(exchange.face, Priority.INTERACTIVE)
    if exchange.urgency:
        asked = named(exchange.urgency)
        return asked if exchange.who.tenant == HOUSE else max(usual, asked)
    tier = exchange.what.tier
    return max(usual, of_tier(tier) or usual) if tier else usual
