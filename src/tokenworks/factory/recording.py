"""Where a house writes down what is asked of it, and what killed servers had left of it."""

from __future__ import annotations

from tokenworks.factory.house import House
from tokenworks.gateway.admission.remembered import Remembered
from tokenworks.gateway.records import Records
from tokenworks.governance.prices import Price
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.inflight import Inflight, Rates, settle_killed


def records_of(house: House, inflight: Inflight, *, keep_bodies: bool, idempotency: Remembered | None) -> Records:
    """Return the records of `house`; without `idempotency` nothing that is sent twice is known again."""
    return Records(
        ledger=house.ledger,
        bodies=house.bodies,
        keep_bodies=keep_bodies,
        lookup=house.lookup,
        idempotency=idempotency,
        inflight=inflight,
    )


def streams_under_way(house: House) -> Inflight:
    """Write down what killed servers had delivered of their streams, and return where this one counts its own."""
    folder = house.home / "inflight"

    def known(entry: RequestEntry) -> bool:
        found = house.lookup.request(entry.request_id, entry.tenant)
        return found is not None and found.at == entry.at

    def charged(entry: RequestEntry, rates: Rates) -> RequestEntry:
        return Price(input_nano=rates[0], cached_nano=rates[1], output_nano=rates[2]).of(entry)

    settle_killed(folder, known, house.ledger.append, charged)
    return Inflight(folder, house.settings.server.max_in_flight)
