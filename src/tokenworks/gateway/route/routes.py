"""What operators say of where requests may go, checked and put together at the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from tokenworks.core.destination import HERE
from tokenworks.core.errors import ConfigError
from tokenworks.gateway.route.places import Place


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where the requests for one alias may go, the first choice first."""

    here_at: int = 0  # place of this site's engines in the order; -1: nowhere
    far: tuple[Place, ...] = ()
    when: Literal["fail-over", "burst"] = "fail-over"
    busy: int = 16

    @property
    def leaves(self) -> bool:
        """Whether anything may go elsewhere."""
        return bool(self.far)


HERE_ONLY = Route()


def routes_of(
    orders: Mapping[str, tuple[Sequence[str], Literal["fail-over", "burst"], int]], places: Mapping[str, Place]
) -> dict[str, Route]:
    """Return the routes by alias; raise `ConfigError` for a destination that nobody has described."""
    return {alias: _route(alias, order, when, busy, places) for alias, (order, when, busy) in orders.items()}


def _route(
    alias: str, order: Sequence[str], when: Literal["fail-over", "burst"], busy: int, places: Mapping[str, Place]
) -> Route:
    where = f"routes.{alias}"
    if not order or len(set(order)) < len(order):
        raise ConfigError(f"{where}: `order` names at least one destination, and each once; it is {list(order)}")
    if busy < 1:
        raise ConfigError(f"{where}: `busy` is {busy}; give at least 1")
    unknown = [name for name in order if name != HERE and name not in places]
    if unknown:
        known = ", ".join([HERE, *sorted(places)])
        raise ConfigError(
            f"{where}: destination {unknown[0]!r} is not described by any [[engines.remotes]]; known: {known}"
        )
    here_at = list(order).index(HERE) if HERE in order else -1
    return Route(here_at=here_at, far=tuple(places[name] for name in order if name != HERE), when=when, busy=busy)
