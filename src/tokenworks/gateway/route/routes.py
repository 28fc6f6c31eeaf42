"""What operators say of where requests may go, checked and put together at the start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from tokenworks.core.destination import HERE
from tokenworks.core.errors import ConfigError
from tokenworks.gateway.route.places import Place
from tokenworks.settings import RouteSettings

MOST_WEIGHT = 1e6


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where the requests for one alias may go, the first choice first."""

    here_at: int = 0  # place of this site's engines in the order; -1: nowhere
    far: tuple[Place, ...] = ()
    when: Literal["fail-over", "burst"] = "fail-over"
    busy: int = 16
    by: Literal["order", "weight", "price"] = "order"
    weights: tuple[tuple[str, float], ...] = ()
    price_in: float = 0.0  # per million tokens of prompts, on this site's engines
    price_out: float = 0.0

    @property
    def leaves(self) -> bool:
        """Whether anything may go elsewhere."""
        return bool(self.far)

    def weight_of(self, name: str) -> float:
        """Return the weight of a destination; 0 where it has none."""
        return dict(self.weights).get(name, 0.0)


HERE_ONLY = Route()


def routes_of(settings: Mapping[str, RouteSettings], places: Mapping[str, Place]) -> dict[str, Route]:
    """Return the routes by alias; raise `ConfigError` for a destination that nobody has described."""
    return {alias: _route(f"routes.{alias}", one, places) for alias, one in settings.items()}


def _route(where: str, said: RouteSettings, places: Mapping[str, Place]) -> Route:
    order = said.order
    if not order or len(set(order)) < len(order):
        raise ConfigError(f"{where}: `order` names at least one destination, and each once; it is {list(order)}")
    if said.busy < 1:
        raise ConfigError(f"{where}: `busy` is {said.busy}; give at least 1")
    unknown = [name for name in order if name != HERE and name not in places]
    if unknown:
        known = ", ".join([HERE, *sorted(places)])
        raise ConfigError(
            f"{where}: destination {unknown[0]!r} is not described by any [[engines.remotes]]; known: {known}"
        )
    far = tuple(places[name] for name in order if name != HERE)
    _check_weights(where, said)
    _check_prices(where, said, far)
    return Route(
        here_at=order.index(HERE) if HERE in order else -1,
        far=far,
        when=said.when,
        busy=said.busy,
        by=said.by,
        weights=tuple(said.weights.items()),
        price_in=said.price_in,
        price_out=said.price_out,
    )


def _check_weights(where: str, said: RouteSettings) -> None:
    if said.weights and said.by != "weight":
        raise ConfigError(f'{where}: `weights` count where `by = "weight"` alone; it is {said.by!r}')
    for name, weight in said.weights.items():
        if name not in said.order:
            raise ConfigError(f"{where}: `weights` name {name!r}, which `order` does not; it is {list(said.order)}")
        if not 0 <= weight <= MOST_WEIGHT:
            raise ConfigError(f"{where}: weight {weight:g} of {name!r} is not from 0 to {MOST_WEIGHT:g}")
    if said.by == "weight" and not any(said.weights.values()):
        raise ConfigError(f"{where}: by weight, and no destination has one; say `weights = {{ here = 3, other = 1 }}`")


def _check_prices(where: str, said: RouteSettings, far: Sequence[Place]) -> None:
    """Refuse a destination whose price was forgotten: it would always be the cheapest."""
    prices = {place.name: (place.destination.price_in, place.destination.price_out) for place in far}
    for name, each in {HERE: (said.price_in, said.price_out), **prices}.items():
        if not all(0 <= price < math.inf for price in each):
            raise ConfigError(f"{where}: price_in {each[0]:g} and price_out {each[1]:g} of {name!r}: give 0 or more")
    unpriced = [name for name, each in prices.items() if not any(each)]
    if said.by == "price" and unpriced:
        raise ConfigError(
            f"{where}: by price, and {unpriced[0]!r} has none; give it price_in and price_out in [[engines.remotes]]"
        )
