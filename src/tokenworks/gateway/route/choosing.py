"""Whom to ask in turn: by the order of a route, by weights, or by price. It only orders: who may be asked is policy.

By weight each destination draws a time from an exponential clock and the first comes first: so often as its weight is a
share of all, and the rest in the same manner (Efraimidis and Spirakis 2006). A conversation draws the same each time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.route.places import Place
from tokenworks.gateway.route.routes import Route

LIKELY_ANSWER = 256  # tokens, where a request does not say how many it takes at most
Draw = Callable[[], float]  # from 0 to 1


def chosen(exchange: Exchange, route: Route, near: Sequence[Place], draw: Draw) -> list[Place]:
    """Return every destination of `route` in turn, the engines of this site as `near` has them."""
    choices = [[place] for place in route.far]
    if route.here_at >= 0:
        choices.insert(route.here_at, list(near))
    if route.by == "weight":
        choices.sort(key=lambda places: _due(exchange, places[0].name, route.weight_of(places[0].name), draw))
    elif route.by == "price":
        choices.sort(key=lambda places: price_of(exchange, route, places[0]))
    order = [place for places in choices for place in places]
    if route.when == "burst":
        order.sort(key=lambda place: place.under_way >= route.busy)  # stable: else as it was
    return order


def price_of(exchange: Exchange, route: Route, place: Place) -> float:
    """Return what the request likely costs at `place`, in millionths of the unit that prices are in."""
    size = exchange.what.size
    answer = size.answers * (LIKELY_ANSWER if size.answer_most is None else size.answer_most)
    target = place.destination
    each = (route.price_in, route.price_out) if place.here else (target.price_in, target.price_out)
    return size.prompt_likely * each[0] + answer * each[1]


def _due(exchange: Exchange, name: str, weight: float, draw: Draw) -> float:
    """Return when the clock of destination `name` rings; never for one without a weight, which others go before."""
    if not weight:
        return math.inf
    return -math.log(_fixed(exchange, name) if exchange.conversation else 1.0 - draw()) / weight


def _fixed(exchange: Exchange, name: str) -> float:
    """Return a number above 0 and at most 1 that a conversation draws for `name`, on every worker and host."""
    said = f"{exchange.who.tenant}\0{exchange.conversation}\0{name}".encode()
    return (int.from_bytes(hashlib.blake2b(said, digest_size=7).digest()) + 1) / 2**56
