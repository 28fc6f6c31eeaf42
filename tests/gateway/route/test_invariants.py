"""What holds whatever destinations do: nobody forbidden is asked, and nobody after bytes were passed on."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.destination import Destination
from tokenworks.core.errors import EngineError
from tokenworks.core.label import Label
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, whole
from tokenworks.gateway.openai.asked import Asked
from tokenworks.gateway.route.affinity import in_turn, prefix_key
from tokenworks.gateway.route.breaker import FAILURES, Breaker
from tokenworks.gateway.route.hedge import SAVED, Hedge
from tokenworks.gateway.route.places import Place
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.route.routes import Route
from tokenworks.gateway.route.told import Told
from tokenworks.governance.keys import Principal
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.serving.supervisor import NotReadyError

ACTS = ["whole", "stream", "breaks", "500", "429", "401", "400", "lost", "starting"]
LABELS = list(Label)


class Bytes:
    """A stream that notes when its first byte is passed on."""

    def __init__(self, parts: list[bytes], error: Exception | None) -> None:
        self._parts, self._error = parts, error

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._parts:
            return self._parts.pop(0)
        raise self._error or StopAsyncIteration

    async def aclose(self) -> None:
        """Nothing to let go of."""


def exchange(label: Label, *, declared: bool = True, tenant: str = "t", body: bytes = b"") -> Exchange:
    who = Principal(key_id="k", tenant=tenant, scopes=frozenset(), clearance=Label.RESTRICTED)
    made = Exchange(endpoint="completions", read=whole(b""), request_id="req-12345678", principal=who, body=body)
    made.asked, made.outgoing, made.declared = Asked(model="m"), label, str(label) if declared else ""
    made.call = EngineCall(ref="m@1", path="/v1/completions", body=b"{}", wait_s=0.0)
    return made


@given(
    places=st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from(LABELS)), min_size=1, max_size=4),
    here=st.integers(-1, 3),
    label=st.sampled_from(LABELS),
    declared=st.booleans(),
    when=st.sampled_from(["fail-over", "burst"]),
    by=st.sampled_from(["order", "weight", "price"]),
)
@settings(max_examples=300, deadline=None)
def test_nobody_forbidden_is_asked_and_nobody_after_the_first_byte(
    places: list[tuple[str, Label]], here: int, label: Label, declared: bool, when: str, by: str
) -> None:
    asked: list[str] = []
    passed = False

    def act(name: str, how: str):
        async def ask(call: EngineCall) -> EngineAnswer:
            assert not passed, "asked after bytes were passed on"
            asked.append(name)
            if how == "lost":
                raise EngineError("gone")
            if how == "starting":
                raise NotReadyError("not yet", retry_after_s=1)
            if how in ("stream", "breaks"):
                error = EngineError("broke") if how == "breaks" else None
                return EngineAnswer(status=200, body=Bytes([b"data: 1\n\n", b"data: 2\n\n"], error))
            return EngineAnswer(status=200 if how == "whole" else int(how), body=b"{}")

        return ask

    far = []
    for number, (how, clearance) in enumerate(places):
        target = Destination(name=f"far-{number}", region="elsewhere", clearance=str(clearance))
        far.append(Place(target, act(f"far-{number}", how), first_byte_s=5))
    weights = tuple((place.name, float(number)) for number, place in enumerate(far))
    route = Route(here_at=min(here, len(far)), far=tuple(far), when=when, by=by, weights=weights)  # type: ignore[arg-type]
    router = Router(act("here", "500"), routes={"m": route})
    made = exchange(label, declared=declared)
    seen: list[str] = []

    def permits(target: Destination, leaving: Label) -> str:
        assert leaving is (Label.RESTRICTED if target.leaves_site and not declared else label)
        seen.append(target.name)
        return "" if leaving <= Label.parse(target.clearance) else "not cleared"

    made.permits = permits

    async def run() -> None:
        nonlocal passed
        reply = await router(made)
        if not isinstance(reply.body, bytes):
            async for _ in reply.body:
                passed = True

    with contextlib.suppress(EngineError, ApiError):
        asyncio.run(run())
    leaving = label if declared else Label.RESTRICTED
    allowed = {place.destination.name for place in far if leaving <= Label.parse(place.destination.clearance)} | {
        "here"
    }
    assert set(asked) <= allowed
    assert len(asked) == len(set(asked))
    assert len(seen) >= len(asked), "policy was asked before each attempt"
    answering = [how for how, _ in places]
    assert [one.to for one in made.sent] == [
        name for name in asked if name == "here" or answering[int(name[4:])] != "starting"
    ]
    assert all(place.under_way == 0 for place in router.places())


@given(
    cuts=st.lists(st.integers(1, 40), max_size=30),
    texts=st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=6), min_size=1, max_size=8),
)
def test_a_stream_is_told_the_same_however_it_is_cut(cuts: list[int], texts: list[str]) -> None:
    import json

    head = '{"id":"c","object":"o","created":1,"model":"m"'
    parts = [
        f": tokens {number},{number + 1}\ndata: {head},"
        f'"choices":[{{"index":0,"text":{json.dumps(text)},"finish_reason":null}}]}}\n\n'
        for number, text in enumerate(texts)
    ]
    plain = "".join(part.partition("\n")[2] for part in parts) + "data: [DONE]\n\n"
    data = ("".join(parts) + "data: [DONE]\n\n").encode()
    told, passed, place = Told(), b"", 0
    for cut in [*cuts, len(data)]:
        passed += told.feed(data[place : place + cut])
        place += cut
    assert passed.decode() == plain
    assert told.seen == [(number, number + 1) for number in range(len(texts))]
    assert told.complete


def test_an_event_that_says_no_tokens_cannot_be_taken_up() -> None:
    told = Told()
    told.feed(b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n')
    assert told.resumable
    told.feed(b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    assert not told.resumable


def test_a_breaker_opens_rests_and_lets_one_probe_through() -> None:
    now = [0.0]
    breaker = Breaker(now=lambda: now[0], rng=random.Random(1))
    for _ in range(FAILURES):
        assert breaker.take()
        breaker.failed()
    assert not breaker.take()
    assert 0 < breaker.wait_s <= 1.0
    now[0] = 1.0
    assert [breaker.take() for _ in range(3)] == [True, False, False]
    breaker.failed()
    assert 1.0 <= breaker.wait_s <= 2.0, "the next pause is longer"
    now[0] = 4.0
    assert breaker.take()
    breaker.dropped()
    assert breaker.take(), "a probe whose caller went does not keep others out"
    breaker.succeeded()
    assert breaker.closed
    assert [breaker.take() for _ in range(3)] == [True, True, True]
    breaker.failed(retry_after_s=10.0)
    assert (breaker.take(), breaker.wait_s) == (False, 10.0)


def test_prompts_with_one_beginning_meet_at_one_replica_within_a_tenant() -> None:
    places = [Place(Destination(name="m@1"), None, first_byte_s=1, replica=number) for number in range(4)]  # type: ignore[arg-type]
    beginning = b'{"model":"m","messages":[' + b"x" * 600
    keys = [prefix_key(exchange(Label.PUBLIC, body=beginning + bytes([65 + n]))) for n in range(5)]
    assert len({in_turn(places, key)[0].replica for key in keys}) == 1
    others = [prefix_key(exchange(Label.PUBLIC, tenant=f"t{n}", body=beginning)) for n in range(40)]
    assert {in_turn(places, key)[0].replica for key in others} == {0, 1, 2, 3}
    assert prefix_key(exchange(Label.INTERNAL, body=beginning)) != keys[0]
    favourite = in_turn(places, keys[0])[0]
    favourite.under_way = 3
    assert in_turn(places, keys[0])[-1] is favourite, "an overloaded one is asked last"
    favourite.under_way = 0
    rest = [place for place in places if place is not in_turn(places, others[0])[0]]
    moved = [
        key
        for key in others
        if in_turn(places, key)[0] in rest and in_turn(rest, key)[0] is not in_turn(places, key)[0]
    ]
    assert moved == [], "one that goes moves only its own"


@settings(deadline=None)
@given(requests=st.integers(0, 2000), percent=st.floats(0.1, 10))
def test_hedges_stay_within_their_budget(requests: int, percent: float) -> None:
    hedge, made, taken = Hedge(percent), exchange(Label.PUBLIC), 0
    made.endpoint = "embeddings"
    for _ in range(requests):
        hedge.after_s(made)
        taken += hedge.take()
    assert taken <= requests * percent / 100 + 1e-6
    for _ in range(100_000 // max(1, int(percent * 10))):
        hedge.after_s(made)
    assert sum(hedge.take() for _ in range(100)) <= SAVED
