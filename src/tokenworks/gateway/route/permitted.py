"""May the text of a request go to a destination: asked at every attempt anew."""

from __future__ import annotations

from tokenworks.core.destination import Destination
from tokenworks.core.label import Label, highest
from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.route.places import Place


def forbids(exchange: Exchange, place: Place) -> str:
    """Return why the text may not go to `place`, or nothing where it may. Asked at every attempt."""
    return exchange.permits(place.destination, leaving_label(exchange, place.destination))


def leaving_label(exchange: Exchange, destination: Destination) -> Label:
    """Return what the text counts as on its way to `destination`."""
    if not destination.leaves_site:
        return exchange.outgoing
    return label_leaving(exchange.outgoing, destination, declared=exchange.declared, clearance=exchange.who.clearance)


def label_leaving(outgoing: Label, destination: Destination, *, declared: str, clearance: Label) -> Label:
    """Return what text that counts as `outgoing` counts as on its way to `destination`.

    Text that nobody has declared counts, where it would leave the site, as the most that its sender could have taken it
    from.
    """
    return outgoing if not destination.leaves_site or declared else highest([outgoing, clearance])
