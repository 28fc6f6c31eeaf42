"""Every file in serving/reasoning/ keeps the contract of `serving.thinking.contract.Strategy`."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.serving.thinking.budget import Budget, Purse, rates_of
from tokenworks.serving.thinking.contract import Draw, DrawError, NoLogprobsError, Plan, Sample
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.find import strategies, strategy_named
from tokenworks.serving.thinking.verifying import Verifier

WAYS = strategies()


class Model:
    """Answers with texts drawn from `texts`, of lengths drawn within what it may make."""

    def __init__(self, seed: int = 0, texts: tuple[str, ...] = ("1", "1", "2", "3"), fails: float = 0.0) -> None:
        self.rng, self.texts, self.fails = random.Random(seed), texts, fails
        self.made = self.asked = 0

    async def __call__(self, draw: Draw, most: int | None) -> Sample:
        self.asked += 1
        await asyncio.sleep(0)
        if self.rng.random() < self.fails:
            raise DrawError("it failed", code="engine_error")
        wants = self.rng.randint(1, 60)
        tokens = wants if most is None else min(wants, most)
        self.made += tokens
        return Sample(
            number=draw.number,
            text=f"so\nanswer: {self.rng.choice(self.texts)}",
            finish_reason="stop" if tokens == wants else "length",
            completion_tokens=tokens,
            logprobs=(math.log(self.rng.uniform(0.3, 1.0)),) if draw.logprobs else (),
        )


def desk(model: Model, budget: Budget, *, most: int | None = None) -> Desk:
    purse = Purse(budget, rates_of(budget), prompt=5, most_tokens=most)
    return Desk(model, purse, cost=lambda sample: {"tokens": sample.completion_tokens})


def plan(samples: int = 16) -> Plan:
    async def judge(text: str) -> float:
        return float(text.endswith("3"))

    return Plan(samples=samples, verifier=Verifier("threes", judge))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_there_are_the_ways_that_the_page_names() -> None:
    named = {"adaptive", "best-of-n", "budget-forcing", "confidence", "none", "self-consistency"}
    assert set(WAYS) >= named


@given(tokens=st.integers(16, 600), seed=st.integers(0, 10_000), most=st.none() | st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_no_way_makes_more_tokens_than_its_budget(tokens: int, seed: int, most: int | None) -> None:
    for name in WAYS:
        model = Model(seed)
        asyncio.run(strategy_named(name, plan()).think(desk(model, Budget(tokens=tokens), most=most)))
        assert model.made <= tokens


@given(samples=st.integers(1, 20), seed=st.integers(0, 10_000), fails=st.sampled_from([0.0, 0.3]))
@settings(max_examples=60, deadline=None)
def test_no_way_draws_more_samples_than_it_may(samples: int, seed: int, fails: float) -> None:
    for name in WAYS:
        model = Model(seed, fails=fails)
        try:
            asyncio.run(strategy_named(name, plan(samples)).think(desk(model, Budget(samples=samples))))
        except DrawError:
            assert fails
        assert model.asked <= samples


async def test_an_outcome_is_one_of_its_samples_and_says_why_it_stopped(way: str) -> None:
    at = desk(Model(3), Budget(samples=16))
    outcome = await strategy_named(way, plan()).think(at)
    assert outcome.chosen in at.samples
    assert outcome.stopped
    assert outcome.agreement is None or 0 < outcome.agreement <= 1


async def test_where_every_sample_is_the_same_one_is_asked(way: str) -> None:
    model = Model(1, texts=("7",))
    at = desk(model, Budget(samples=16))
    at.alike = True
    outcome = await strategy_named(way, plan()).think(at)
    assert outcome.answer == "7"
    assert model.asked == 1 or way == "budget-forcing"


async def test_a_model_that_only_fails_is_an_error(way: str) -> None:
    with pytest.raises(DrawError, match="it failed"):
        await strategy_named(way, plan()).think(desk(Model(fails=1.0), Budget(samples=4)))


async def test_an_engine_without_logprobs_is_asked_without(way: str) -> None:
    class Silent(Model):
        async def __call__(self, draw: Draw, most: int | None) -> Sample:
            if draw.logprobs:
                raise NoLogprobsError("not here")
            return await super().__call__(draw, most)

    outcome = await strategy_named(way, plan()).think(desk(Silent(5), Budget(samples=8)))
    assert outcome.answer or outcome.notes


async def test_texts_without_an_answer_are_answered_all_the_same(way: str) -> None:
    async def empty(draw: Draw, most: int | None) -> Sample:
        return Sample(number=draw.number, text="", completion_tokens=1)

    purse = Purse(Budget(samples=6), {}, prompt=1)
    outcome = await strategy_named(way, plan(6)).think(Desk(empty, purse, cost=lambda sample: {}))
    assert outcome.chosen.text == ""


async def test_a_sample_that_outlasts_the_time_is_cut_off(way: str) -> None:
    async def slow(draw: Draw, most: int | None) -> Sample:
        if draw.number > 1:
            await asyncio.sleep(60)
        return Sample(number=draw.number, text="answer: 1", completion_tokens=1)

    budget = Budget(seconds=0.2)
    at = Desk(slow, Purse(budget, {}, prompt=1), cost=lambda sample: {})
    async with asyncio.timeout(5):
        outcome = await strategy_named(way, plan()).think(at)
    assert outcome.chosen.number == 1
