"""The life of a request in one list. The order is policy; tests/gateway/test_stack.py names it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial

from tokenworks.gateway.exchange import Exchange, Handle, Layer, Reply
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.layers.authorise import Authorise
from tokenworks.gateway.layers.classify import classify
from tokenworks.gateway.layers.cost import Cost
from tokenworks.gateway.layers.later import later
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.measure import measure
from tokenworks.gateway.layers.mirror import Mirror
from tokenworks.gateway.layers.once import Once
from tokenworks.gateway.layers.record import Record
from tokenworks.gateway.layers.rescue import Rescue
from tokenworks.gateway.layers.route import route
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.layers.terms import Terms
from tokenworks.gateway.layers.think import Think


def layers(
    *,
    record: Record,
    identify: Layer,
    authorise: Authorise,
    terms: Terms,
    once: Once,
    think: Think,
    limit: Limit,
    admit: Admit,
    mirror: Mirror,
    schedule: Schedule,
    rescue: Rescue,
    cost: Cost | None = None,
) -> list[Layer]:
    """Return the layers of a request for tokens, the outermost first; without prices and costs none tells any."""
    return [
        record,  # the ledger sees refusals and failures too
        identify,  # who asks, for which tenant
        classify,  # what is asked, and what label the text carries
        authorise,  # may this key ask this of that model
        terms,  # how urgent is it, and until when
        once,  # was it answered before
        think,  # is it one answer, or the best of several samples
        limit,  # may this caller have so much
        admit,  # is there room here
        mirror,  # a shadow is asked too, later
        schedule,  # whose turn it is at the engine
        rescue,  # where a canary fails, the incumbent answers
        route,  # which version, which engine
        *((cost,) if cost is not None else ()),  # money and joules, told with the answer
        measure,  # tokens and seconds
    ]


def layers_of_sample(
    *,
    record: Record,
    authorise: Authorise,
    limit: Limit,
    admit: Admit,
    schedule: Schedule,
    rescue: Rescue,
    cost: Cost | None = None,
) -> list[Layer]:
    """Return the layers of a sample for an answer: its caller, its terms and its body are known, no shadow is asked."""
    costs = (cost,) if cost is not None else ()
    return [record, authorise, limit, admit, schedule, rescue, route, *costs, measure]


def with_later(around: Sequence[Layer]) -> list[Layer]:
    """Return the layers of a request for tokens, with one before `think` that accepts what is answered later."""
    before = next(number for number, layer in enumerate(around) if isinstance(layer, Think))
    return [*around[:before], later, *around[before:]]


def fold(around: Sequence[Layer], innermost: Handle) -> Handle:
    """Return `innermost` with the layers folded around it, the first of them outermost."""
    handle = innermost
    for layer in reversed(around):
        handle = partial(_through, layer, handle)
    return handle


def _through(layer: Layer, inner: Handle, exchange: Exchange) -> Awaitable[Reply]:
    return layer(exchange, inner)
