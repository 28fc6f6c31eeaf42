"""Votes: what wins, when it stops, and what stopping early is worth."""

from __future__ import annotations

import math
import random

import pytest

from tokenworks.serving.thinking.budget import Budget, Purse
from tokenworks.serving.thinking.contract import Draw, Plan, Sample
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.find import strategy_named
from tokenworks.serving.thinking.measured import Point, choose
from tokenworks.serving.thinking.verifying import Verifier


def recorded(texts: list[str], logprobs: list[float] | None = None) -> Desk:
    async def ask(draw: Draw, most: int | None) -> Sample:
        told = (logprobs[draw.number - 1],) if logprobs and draw.logprobs else ()
        return Sample(number=draw.number, text=texts[draw.number - 1], completion_tokens=10, logprobs=told)

    return Desk(ask, Purse(Budget(samples=len(texts)), {}, prompt=0), cost=lambda sample: {})


async def test_three_who_agree_end_a_vote_of_sixteen() -> None:
    desk = recorded(["4"] * 16)
    outcome = await strategy_named("self-consistency", Plan()).think(desk)
    assert (outcome.answer, len(desk.samples), outcome.stopped, outcome.agreement) == ("4", 3, "agreed", 1.0)


async def test_sixteen_of_which_no_two_agree_end_a_larger_one_too() -> None:
    desk = recorded([str(number) for number in range(64)])
    outcome = await strategy_named("self-consistency", Plan(samples=64)).think(desk)
    assert outcome.stopped == "no-agreement"
    assert 16 <= len(desk.samples) < 24


async def test_an_answer_that_shows_late_is_still_found() -> None:
    desk = recorded([*(str(number) for number in range(8)), "x", "9", "x", *(str(number) for number in range(10, 15))])
    outcome = await strategy_named("self-consistency", Plan()).think(desk)
    assert outcome.answer == "x"


async def test_a_sure_minority_outvotes_an_unsure_majority_where_votes_are_weighed() -> None:
    texts, sure = ["1", "2", "1", "2", "1"], [0.2, 0.95, 0.2, 0.95, 0.2]
    plan = Plan(samples=5)
    outcome = await strategy_named("confidence", plan).think(recorded(texts, [math.log(p) for p in sure]))
    assert outcome.answer == "2"
    assert (await strategy_named("self-consistency", plan).think(recorded(texts))).answer == "1"


async def test_without_logprobs_the_votes_count_alike_and_the_outcome_says_so() -> None:
    outcome = await strategy_named("confidence", Plan(samples=5)).think(recorded(["1", "2", "1", "2", "1"]))
    assert outcome.answer == "1"
    assert "no probabilities" in outcome.notes[0]


async def test_a_sure_first_answer_is_the_only_one() -> None:
    desk = recorded(["1"] * 16, [math.log(0.999)] * 16)
    outcome = await strategy_named("adaptive", Plan()).think(desk)
    assert (outcome.stopped, len(desk.samples)) == ("easy", 1)


async def test_best_of_n_stops_at_the_first_answer_that_is_certainly_right() -> None:
    async def judge(text: str) -> float:
        return float(text == "right")

    desk = recorded(["wrong", "wrong", "right", "wrong", "right", "wrong"])
    outcome = await strategy_named("best-of-n", Plan(samples=6, verifier=Verifier("v", judge))).think(desk)
    assert (outcome.chosen.text, outcome.stopped, outcome.score) == ("right", "verified", 1.0)
    assert len(desk.samples) == 3


async def test_a_verifier_that_always_fails_leaves_the_vote() -> None:
    async def judge(text: str) -> float:
        raise RuntimeError

    desk = recorded(["a", "b", "b", "a", "b", "b"])
    outcome = await strategy_named("best-of-n", Plan(samples=6, verifier=Verifier("v", judge))).think(desk)
    assert (outcome.chosen.text, outcome.stopped) == ("b", "verifier-failed")
    assert "said nothing of 3 of 3" in outcome.notes[0]


async def test_thinking_again_ends_when_it_confirms_itself() -> None:
    outcome = await strategy_named("budget-forcing", Plan(rounds=4)).think(recorded(["5", "6", "6", "7", "8"]))
    assert (outcome.answer, outcome.stopped) == ("6", "confirmed")
    assert outcome.text == "5\nWait6\nWait6"


async def test_a_thought_that_was_cut_off_is_made_to_answer() -> None:
    async def ask(draw: Draw, most: int | None) -> Sample:
        assert draw.number == 1 or draw.cue.strip() == "Final answer:"
        reason, text = ("length", "I think that") if draw.number == 1 else ("stop", " 12")
        return Sample(number=draw.number, text=text, finish_reason=reason)

    desk = Desk(ask, Purse(Budget(samples=4), {}, prompt=0), cost=lambda sample: {})
    outcome = await strategy_named("budget-forcing", Plan()).think(desk)
    assert (outcome.answer, outcome.stopped) == ("12", "forced")


@pytest.mark.parametrize(("right", "samples"), [(0.45, 10), (0.6, 8), (0.8, 6)])
async def test_stopping_early_is_as_good_as_a_vote_of_sixteen_for_about_half_the_samples(
    right: float, samples: int
) -> None:
    rng, early, fixed, drawn, rounds = random.Random(1), 0, 0, 0, 600
    for _ in range(rounds):
        p = min(1.0, max(0.0, rng.gauss(right, 0.25)))
        texts = ["yes" if rng.random() < p else rng.choice("abcd") for _ in range(16)]
        desk = recorded(texts)
        outcome = await strategy_named("self-consistency", Plan()).think(desk)
        early += outcome.answer == "yes"
        fixed += max(set(texts), key=lambda one: (texts.count(one), -texts.index(one))) == "yes"
        drawn += len(desk.samples)
    assert abs(early - fixed) / rounds <= 0.02
    assert drawn / rounds <= samples


def point(name: str, accuracy: float, tokens: float, gain: float = 0.0, low: float = 0.0) -> Point:
    return Point(
        strategy=name, most=16, samples=1, accuracy=accuracy, low=accuracy, high=accuracy, tokens=tokens, gain=gain,
        gain_low=low, gain_high=gain + 0.05,
    )  # fmt: skip


def test_a_way_that_pays_becomes_the_default() -> None:
    best, why = choose([point("none", 0.6, 30), point("self-consistency", 0.8, 90, 0.2, 0.15)], worth=20)
    assert best.strategy == "self-consistency"
    assert "one more right answer costs 10.0 plain answers" in why


def test_where_more_does_not_pay_the_default_is_none_and_says_so() -> None:
    points = [point("none", 0.6, 30), point("self-consistency", 0.8, 90, 0.2, 0.15)]
    best, why = choose(points, worth=5)
    assert best.strategy == "none"
    assert why.startswith("more does not pay")


def test_a_gain_that_may_be_chance_is_none() -> None:
    best, why = choose([point("none", 0.6, 30), point("self-consistency", 0.62, 40, 0.02, -0.01)], worth=1000)
    assert best.strategy == "none"
    assert "shown" in why
