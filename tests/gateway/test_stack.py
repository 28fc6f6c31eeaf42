"""The order of the layers is policy: it stands here by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenworks.gateway.duties import Duties
from tokenworks.gateway.exchange import Exchange, Handle, Layer, Reply, whole
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.layers.authorise import Authorise
from tokenworks.gateway.layers.classify import classify
from tokenworks.gateway.layers.identify import Identify
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
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.notes import Notes
from tokenworks.gateway.openai.asked import Asked
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.stack import layers
from tokenworks.serving.answer import EngineAnswer, EngineCall

if TYPE_CHECKING:
    from .conftest import House


def test_a_request_passes_the_layers_in_this_order(house: House) -> None:
    record, identify = Record(None, Metrics()), Identify(house.keys)  # type: ignore[arg-type]
    authorise, admit = Authorise(house.releases), Admit(1)
    notes = Notes(house.ledger, bodies=None, find=lambda *_: None)
    mirror, rescue = Mirror(notes, Metrics(), admit), Rescue(notes, Metrics())
    terms, schedule = Terms(), Schedule()
    once = Once(None, None, notes.find)
    limit: Limit = house.gateway.limit
    think = Think(route, limit)  # type: ignore[arg-type]
    duties = Duties(
        record=record,
        identify=identify,
        authorise=authorise,
        terms=terms,
        once=once,
        limit=limit,
        admit=admit,
        mirror=mirror,
        schedule=schedule,
        rescue=rescue,
    )
    assert layers(duties, think) == [
        *(record, identify, classify, authorise, terms, once, think, limit, admit),
        *(mirror, schedule, rescue, route, measure),
    ]


def noting(name: str, seen: list[str]) -> Layer:
    async def layer(exchange: Exchange, proceed: Handle) -> Reply:
        seen.append(f"{name} in")
        reply = await proceed(exchange)
        seen.append(f"{name} out")
        return reply

    return layer


async def test_the_first_layer_is_outermost() -> None:
    seen: list[str] = []

    async def innermost(exchange: Exchange) -> Reply:
        seen.append("engine")
        return Reply(status=200, body=b"{}")

    exchange = Exchange(endpoint="completions", read=whole(b""), request_id="req-12345678")
    await fold([noting("a", seen), noting("b", seen)], innermost)(exchange)
    assert seen == ["a in", "b in", "engine", "b out", "a out"]


async def test_the_engine_gets_the_call_that_a_layer_made() -> None:
    async def engine(call: EngineCall) -> EngineAnswer:
        return EngineAnswer(status=200, body=call.ref.encode())

    async def choosing(exchange: Exchange, proceed: Handle) -> Reply:
        exchange.call = EngineCall(ref="m@7", path="/v1/completions", body=b"")
        exchange.asked, exchange.permits = Asked(model="m"), lambda destination, label: ""
        return await proceed(exchange)

    exchange = Exchange(endpoint="completions", read=whole(b""), request_id="req-12345678")
    assert (await fold([choosing], Router(engine))(exchange)).body == b"m@7"
