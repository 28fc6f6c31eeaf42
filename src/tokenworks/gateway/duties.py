"""The layers that work with something, each made once: every list of stack.py and every face shares them."""

from __future__ import annotations

from dataclasses import dataclass

from tokenworks.gateway.exchange import Layer
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.layers.authorise import Authorise
from tokenworks.gateway.layers.cost import Cost
from tokenworks.gateway.layers.identify import Identify
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.mirror import Mirror
from tokenworks.gateway.layers.once import Once
from tokenworks.gateway.layers.record import Record
from tokenworks.gateway.layers.rescue import Rescue
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.layers.terms import Terms
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.ruling import Rules


@dataclass(frozen=True, kw_only=True)
class Duties:
    """One of each; what it does stands in stack.py, where its place is."""

    record: Record
    identify: Layer
    authorise: Authorise
    terms: Terms
    once: Once
    limit: Limit
    admit: Admit
    mirror: Mirror
    schedule: Schedule
    rescue: Rescue
    cost: Cost | None = None  # without prices and costs none tells any

    @property
    def rules(self) -> Rules:
        """The policies in force, as all ask them."""
        return self.authorise.rules


def duties_of(parts: GatewayParts) -> Duties:
    """Return the layers over `parts`."""
    records, metrics, schedule = parts.records, Metrics(), parts.schedule
    notes, admit = records.notes(), Admit(parts.server.max_in_flight)
    metrics.watch(lambda: admit.in_flight, lambda: schedule.waiting)
    return Duties(
        record=Record(notes, metrics),
        identify=Identify(parts.keys),
        authorise=Authorise(parts.releases, Rules(parts.policies, records.ledger), parts.look),
        terms=parts.terms,
        once=Once(records.idempotency, records.texts, notes.find),
        limit=parts.limit,
        admit=admit,
        mirror=Mirror(notes, metrics, admit),
        schedule=schedule,
        rescue=Rescue(notes, metrics),
        cost=parts.cost,
    )
