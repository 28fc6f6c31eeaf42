"""The ways in to the models: the list of stack.py over the engines, as each kind of caller passes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tokenworks.gateway.duties import Duties
from tokenworks.gateway.exchange import Handle
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.stand_in import StandIn
from tokenworks.gateway.layers.think import Think
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.stack import layers, layers_of_sample, with_later


@dataclass(frozen=True)
class Ways:
    """Who asks by which."""

    tokens: Handle  # a caller who waits
    later: Handle  # a caller who may also come back for the answer
    standing_in: Handle  # work in the name of a caller who is gone; no request from outside reaches it


def ways_of(parts: GatewayParts, duties: Duties, router: Router) -> Ways:
    """Return the ways over the engines that `router` asks."""
    think = Think(fold(layers_of_sample(duties), router), parts.limit, parts.choices, parts.pool.is_remote)
    asked = layers(duties, think)
    in_name = layers(replace(duties, identify=StandIn(parts.keys)), think)
    return Ways(
        tokens=fold(parts.around(asked), router),
        later=fold(parts.around(with_later(asked)), router),
        standing_in=fold(parts.around(in_name), router),
    )
