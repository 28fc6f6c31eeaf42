"""Who is asked first: by weight and by price, and never who may not see the text."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.destination import Destination
from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.openai.asked import Asked, Size
from tokenworks.gateway.route.choosing import chosen, price_of
from tokenworks.gateway.route.places import Place
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.route.routes import Route
from tokenworks.serving.answer import EngineAnswer, EngineCall

from .conftest import Rogue, Routed
from .test_fail_over import remote
from .test_invariants import exchange

ROGUE = Callable[..., Rogue]
ROUTED = Callable[..., Routed]
LABELS = list(Label)


async def nobody(call: EngineCall) -> EngineAnswer:
    raise AssertionError("nobody is asked here")


def place(name: str, **facts: Any) -> Place:
    return Place(Destination(name=name, region="elsewhere", **facts), nobody, first_byte_s=1)


def sized(prompt: int = 100, answer: int | None = 100, conversation: str = "") -> Any:
    made = exchange(Label.PUBLIC)
    made.asked = Asked(model="m", size=Size(prompt_likely=prompt, answers=1, answer_most=answer))
    made.conversation = conversation
    return made


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=4).filter(any), seed=st.integers(0, 99)
)
def test_each_is_first_as_often_as_its_weight_is_a_share_of_all(weights: list[float], seed: int) -> None:
    far = tuple(place(f"p{number}") for number in range(len(weights)))
    route = Route(here_at=-1, far=far, by="weight", weights=tuple((f"p{n}", w) for n, w in enumerate(weights)))
    draw, tries = random.Random(seed).random, 800
    orders = [[one.name for one in chosen(sized(), route, (), draw)] for _ in range(tries)]
    firsts = Counter(order[0] for order in orders)
    for number, weight in enumerate(weights):
        share = weight / sum(weights)
        # six standard deviations of a binomial: one false alarm in some 10^8 examples
        assert abs(firsts[f"p{number}"] - share * tries) <= 6 * (share * (1 - share) * tries) ** 0.5
    idle = [f"p{n}" for n, weight in enumerate(weights) if not weight]
    assert all(order[len(order) - len(idle) :] == idle for order in orders), "the others come last, in order"


def test_a_conversation_stays_where_it_began_and_conversations_are_spread() -> None:
    route = Route(here_at=-1, far=(place("a"), place("b")), by="weight", weights=(("a", 3.0), ("b", 1.0)))

    def first(conversation: str) -> str:
        names = {chosen(sized(conversation=conversation), route, (), lambda: 0.5)[0].name for _ in range(3)}
        assert len(names) == 1
        return names.pop()

    firsts = Counter(first(f"conversation-{number}") for number in range(400))
    assert 240 < firsts["a"] < 360


def test_what_is_cheapest_depends_on_what_is_asked() -> None:
    reads, writes = place("reads", price_in=0.1, price_out=9.0), place("writes", price_in=2.0, price_out=1.0)
    route = Route(here_at=0, far=(reads, writes), by="price", price_in=50.0, price_out=50.0)
    here = [Place(Destination(name="m@1"), nobody, first_byte_s=1, replica=0)]

    def order(prompt: int, answer: int | None) -> list[str]:
        return [one.name for one in chosen(sized(prompt, answer), route, here, lambda: 0.5)]

    assert order(10_000, 10) == ["reads", "writes", "here"]
    assert order(10, 1000) == ["writes", "reads", "here"]
    assert order(10, None) == ["writes", "reads", "here"], "an answer without a bound is likely a long one"
    assert price_of(sized(10, 1000), route, writes) == 10 * 2.0 + 1000 * 1.0


def test_one_that_is_busy_comes_after_those_with_room_whatever_it_costs() -> None:
    cheap, dear = place("cheap", price_in=1.0), place("dear", price_in=2.0)
    route = Route(here_at=-1, far=(dear, cheap), by="price", when="burst", busy=2)
    assert chosen(sized(), route, (), lambda: 0.5) == [cheap, dear]
    cheap.under_way = 2
    assert chosen(sized(), route, (), lambda: 0.5) == [dear, cheap]


@settings(max_examples=200, deadline=None)
@given(
    places=st.lists(st.tuples(st.sampled_from(LABELS), st.integers(1, 5)), min_size=1, max_size=4),
    label=st.sampled_from(LABELS),
    here=st.booleans(),
    by=st.sampled_from(["weight", "price"]),
)
async def test_of_those_that_may_see_the_text_the_first_is_asked_and_no_other(
    places: list[tuple[Label, int]], label: Label, here: bool, by: str
) -> None:
    asked: list[str] = []

    def answers(name: str) -> Callable[[EngineCall], Any]:
        async def ask(call: EngineCall) -> EngineAnswer:
            asked.append(name)
            return EngineAnswer(status=200, body=b"{}")

        return ask

    far = []
    for number, (clearance, price) in enumerate(places):
        name = f"far-{number}"
        target = Destination(name=name, region="elsewhere", clearance=str(clearance), price_in=price, price_out=price)
        far.append(Place(target, answers(name), first_byte_s=5))
    # the dearer, the heavier: what may not be asked is drawn first more often than not
    weights = tuple((f"far-{number}", float(price)) for number, (_, price) in enumerate(places))
    route = Route(here_at=0 if here else -1, far=tuple(far), by=by, weights=weights, price_in=9.0, price_out=9.0)  # type: ignore[arg-type]
    made = exchange(label)
    made.asked = sized().asked
    made.permits = lambda target, leaving: "" if leaving <= Label.parse(target.clearance) else "not cleared"
    allowed = {f"far-{n}": price for n, (clearance, price) in enumerate(places) if label <= clearance}
    if not allowed and not here:
        with pytest.raises(ApiError, match="no destination may see this text"):
            await Router(answers("here"), routes={"m": route})(made)
        assert asked == []
        return
    await Router(answers("here"), routes={"m": route})(made)
    assert len(asked) == 1
    assert asked[0] in {*allowed, *(["here"] if here else [])}
    if by == "price" and allowed:
        assert allowed[asked[0]] == min(allowed.values())


def test_requests_are_spread_by_weight_through_the_gateway(routed: ROUTED, rogue: ROGUE) -> None:
    heavy, light, spare = rogue(), rogue(), rogue()
    gate = routed(
        remotes=[remote("heavy", heavy), remote("light", light), remote("spare", spare)],
        routes={"far": {"order": ["spare", "light", "heavy"], "by": "weight", "weights": {"heavy": 3, "light": 1}}},
    )
    for _ in range(60):
        assert gate.ask("far").status_code == 200
    assert len(spare.requests) == 0
    assert 25 <= len(heavy.requests) <= 59, "45 are expected; 20 less are six standard deviations"
    assert len(heavy.requests) + len(light.requests) == 60


def test_the_cheapest_that_may_see_the_text_answers_and_the_next_where_it_fails(routed: ROUTED, rogue: ROGUE) -> None:
    cheap, middle, dear = rogue(), rogue(), rogue()
    gate = routed(
        remotes=[
            remote("dear", dear, price_in=9, price_out=9, label="restricted"),
            remote("middle", middle, price_in=3, price_out=3, label="internal"),
            remote("cheap", cheap, price_in=1, price_out=1, label="public"),
        ],
        routes={"far": {"order": ["dear", "middle", "cheap"], "by": "price"}},
    )
    assert gate.sent(gate.ask("far")) == [("cheap", "ok")]
    assert gate.sent(gate.ask("far", label="internal")) == [("middle", "ok")]
    cheap.script = ["broken"]
    assert gate.sent(gate.ask("far")) == [("cheap", "failed"), ("middle", "ok")]
    assert len(dear.requests) == 0
    assert all("the quick" in body["prompt"] for _, _, body in middle.requests)
    assert len(cheap.requests) == 2, "what is internal never came there"


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"by": "weight"}, "no destination has one"),
        ({"by": "weight", "weights": {"a": 0}}, "no destination has one"),
        ({"by": "weight", "weights": {"b": 1}}, "`weights` name 'b', which `order` does not"),
        ({"by": "weight", "weights": {"a": -1}}, "weight -1 of 'a' is not from 0"),
        ({"by": "weight", "weights": {"a": float("nan")}}, "weight nan of 'a'"),
        ({"weights": {"a": 1}}, '`weights` count where `by = "weight"` alone'),
        ({"by": "price"}, "by price, and 'a' has none"),
        ({"price_in": -1}, "price_in -1"),
    ],
)
def test_weights_and_prices_that_cannot_be_meant_are_refused_at_the_start(
    routed: ROUTED, rogue: ROGUE, route: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        routed(remotes=[remote("a", rogue())], routes={"far": {"order": ["a"], **route}})
