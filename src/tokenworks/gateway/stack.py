"""The life of a request in one list. The order is policy; tests/gateway/test_stack.py names it."""

from __future__ import annotations

from collections.abc import Sequence

from tokenworks.gateway.duties import Duties
from tokenworks.gateway.exchange import Layer
from tokenworks.gateway.layers.classify import classify
from tokenworks.gateway.layers.later import later
from tokenworks.gateway.layers.measure import measure
from tokenworks.gateway.layers.route import route
from tokenworks.gateway.layers.think import Think


def layers(of: Duties, think: Think) -> list[Layer]:
    """Return the layers of a request for tokens, the outermost first."""
    return [
        of.record,  # the ledger sees refusals and failures too
        of.identify,  # who asks, for which tenant
        classify,  # what is asked, and what label the text carries
        of.authorise,  # may this key ask this of that model
        of.terms,  # how urgent is it, and until when
        of.once,  # was it answered before
        think,  # is it one answer, or the best of several samples
        of.limit,  # may this caller have so much
        of.admit,  # is there room here
        of.mirror,  # a shadow is asked too, later
        of.schedule,  # whose turn it is at the engine
        of.rescue,  # where a canary fails, the incumbent answers
        route,  # which version, which engine
        *_costs(of),  # money and joules, told with the answer
        measure,  # tokens and seconds
    ]


def layers_of_sample(of: Duties) -> list[Layer]:
    """Return the layers of a sample for an answer: its caller, its terms and its body are known, no shadow is asked."""
    return [of.record, of.authorise, of.limit, of.admit, of.schedule, of.rescue, route, *_costs(of), measure]


def _costs(of: Duties) -> list[Layer]:
    return [of.cost] if of.cost is not None else []


def with_later(around: Sequence[Layer]) -> list[Layer]:
    """Return the layers of a request for tokens, with one before `think` that accepts what is answered later."""
    before = next(number for number, layer in enumerate(around) if isinstance(layer, Think))
    return [*around[:before], later, *around[before:]]
