"""Engines that lie, hang, break off or say nothing, verifiers that do the same: no way spends beyond its budget."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tokenworks.governance.prices import Price
from tokenworks.serving.thinking.answers import reader
from tokenworks.serving.thinking.budget import MICRO, NANO, Budget, Purse, rates_of
from tokenworks.serving.thinking.contract import BudgetError, Draw, DrawError, NoLogprobsError, Plan, Sample
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.find import strategies, strategy_named
from tokenworks.serving.thinking.verifying import Verifier

Course = Literal["well", "no usage", "negative", "fails", "refused", "no logprobs", "cut"]
PRICE = Price(input_nano=500, cached_nano=50, output_nano=4000, thinking_nano=6000)
PROMPT = 20
JOULES_PER_TOKEN = 0.25


class Engine:
    """Follows a script, and knows what it truly made: what it says of that is another matter."""

    def __init__(self, script: list[tuple[Course, float, str]], unbounded: int = 40) -> None:
        self._script = iter(script)
        self._unbounded = unbounded
        self.made: list[int] = []
        self.calls = 0

    async def __call__(self, draw: Draw, most: int | None) -> Sample:
        self.calls += 1
        course, share, said = next(self._script, ("well", 1.0, "7"))
        await asyncio.sleep(0)
        if course == "refused":
            raise DrawError("no room", code="overloaded", spent=False)
        if course == "no logprobs" and draw.logprobs:
            raise NoLogprobsError("not here")
        tokens = max(1, round((self._unbounded if most is None else most) * share))
        self.made.append(tokens)
        if course == "fails":
            raise DrawError("broke off", spent=True)
        told = {"no usage": 0, "negative": -1000}.get(course, tokens)
        return Sample(
            number=draw.number, text=said, finish_reason="length" if course == "cut" else "stop",
            prompt_tokens=PROMPT, completion_tokens=told, joules=None if told <= 0 else told * JOULES_PER_TOKEN,
            logprobs=(-0.5,) if draw.logprobs else (),
        )  # fmt: skip


def cost(sample: Sample) -> dict[str, int]:
    used = {"prompt": sample.prompt_tokens, "cached": 0, "completion": sample.completion_tokens}
    micro = max(PRICE.micro(**used), PRICE.micro(**used, thinking=sample.completion_tokens))
    spent = {"tokens": sample.completion_tokens, "money": micro * NANO}
    return spent if sample.joules is None else {**spent, "joules": round(sample.joules * MICRO)}


def opened(budget: Budget, most: int | None) -> Purse:
    rates = rates_of(
        budget, nano_per_prompt=PRICE.most_input_nano, nano_per_token=PRICE.most_output_nano,
        joules_per_token=JOULES_PER_TOKEN,
    )  # fmt: skip
    return Purse(budget, rates, prompt=PROMPT, most_tokens=most)


async def odd(text: str) -> float:
    """Judge as nobody should."""
    if text == "7":
        raise RuntimeError("broken")
    return float("nan") if text == "8" else 0.5


COURSES = st.sampled_from(["well", "well", "no usage", "negative", "fails", "refused", "no logprobs", "cut"])
SAID = st.sampled_from(["7", "8", "9", ""]) | st.integers(0, 99).map(str)
SCRIPTS = st.lists(st.tuples(COURSES, st.floats(0, 1), SAID), max_size=24)
LIAR: list[tuple[Course, float, str]] = [("negative", 1.0, str(number)) for number in range(24)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(strategies()),
    script=SCRIPTS,
    samples=st.none() | st.integers(1, 20),
    tokens=st.none() | st.integers(16, 600),
    money=st.none() | st.floats(0.0001, 0.005),
    joules=st.none() | st.floats(5.0, 200.0),
    most=st.none() | st.integers(1, 60),
    plan=st.integers(1, 20),
)
@example("self-consistency", LIAR, None, 100, None, None, 20, 20)
@example("best-of-n", LIAR, None, None, 0.001, None, 20, 20)
def test_no_way_overspends_whatever_the_engine_does(
    name: str, script: list[tuple[Course, float, str]], samples: int | None, tokens: int | None, money: float | None,
    joules: float | None, most: int | None, plan: int,
) -> None:  # fmt: skip
    budget = Budget(samples=samples, tokens=tokens, money=money, joules=joules)
    engine = Engine(script)
    try:
        purse = opened(budget, most)
    except BudgetError:
        return
    desk = Desk(engine, purse, cost=cost)
    way = strategy_named(name, Plan(samples=plan, verifier=Verifier("odd", odd)))
    with contextlib.suppress(DrawError):  # not one sample was to be had
        asyncio.run(way.think(desk))
    made, prompts = sum(engine.made), PROMPT * len(engine.made)
    assert samples is None or len(engine.made) <= samples
    assert tokens is None or made <= tokens
    continued = name == "budget-forcing"  # whose prompts grow by what was said, which stays in the bound of the purse
    if money is not None and not continued:
        assert PRICE.micro(prompt=prompts, cached=0, completion=made, thinking=made) <= money * MICRO
    if joules is not None and not continued:
        assert made * JOULES_PER_TOKEN <= joules
    for kind, rate in (("tokens", tokens), ("money", money), ("joules", joules)):
        assert rate is None or purse.left(kind) >= 0


def test_an_engine_that_does_not_say_what_it_made_is_taken_to_have_made_all_that_it_might() -> None:
    engine = Engine([("no usage", 1.0, str(number)) for number in range(40)])
    desk = Desk(engine, opened(Budget(tokens=100), 20), cost=cost)
    asyncio.run(strategy_named("self-consistency", Plan(samples=32)).think(desk))
    assert sum(engine.made) <= 100
    assert "did not say how many tokens" in desk.notes[0]


def test_an_engine_that_made_more_than_it_was_let_is_asked_no_more() -> None:
    async def ignores(draw: Draw, most: int | None) -> Sample:
        return Sample(number=draw.number, text=str(draw.number), completion_tokens=500)

    purse = opened(Budget(tokens=100), 20)
    desk = Desk(ignores, purse, cost=cost)
    assert len(asyncio.run(desk.draw(1))) == 1
    assert asyncio.run(desk.draw(4)) == []
    assert (purse.left("tokens"), desk.stopped) == (-400, "budget:tokens")


@pytest.mark.parametrize("course", ["engine", "verifier"])
def test_the_seconds_are_kept_whoever_hangs(course: str) -> None:
    """A verifier is waited for as long as there is time, and not for as long as it might take."""

    async def hangs(text: str) -> float:
        await asyncio.sleep(5)
        return 1.0

    async def engine(draw: Draw, most: int | None) -> Sample:
        if course == "engine" and draw.number > 1:
            await asyncio.sleep(30)
        return Sample(number=draw.number, text="7", completion_tokens=5)

    desk = Desk(engine, opened(Budget(seconds=0.3), 20), cost=cost)
    verifier = Verifier("slow", hangs, timeout_s=60.0) if course == "verifier" else Verifier("odd", odd)
    outcome = asyncio.run(strategy_named("best-of-n", Plan(samples=8, verifier=verifier)).think(desk))
    assert outcome.chosen.number == 1
    assert outcome.stopped == "budget:seconds"


def test_answers_that_take_long_to_read_do_not_stretch_the_seconds() -> None:
    async def engine(draw: Draw, most: int | None) -> Sample:
        return Sample(number=draw.number, text="a" * 60 + "!", completion_tokens=5)

    desk = Desk(engine, opened(Budget(seconds=0.05), 20), cost=cost, read=reader(r"(a|aa)+$"))
    samples = asyncio.run(desk.draw(16))

    async def read_all() -> list[str]:
        return [await desk.answer_of(sample) for sample in samples]

    assert set(asyncio.run(read_all())) == {""}
    assert "the time was up before every answer was read" in desk.notes
