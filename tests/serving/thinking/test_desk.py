"""What is done aside of the samples, out of the same purse."""

from __future__ import annotations

import asyncio

import pytest

from tokenworks.serving.thinking.budget import Budget, Purse, rates_of
from tokenworks.serving.thinking.contract import Draw, DrawError, Sample
from tokenworks.serving.thinking.desk import Desk


async def one(draw: Draw, most: int | None) -> Sample:
    return Sample(number=draw.number, text="1", completion_tokens=10)


async def judge() -> int:
    return 20


def desk(budget: Budget) -> Desk:
    purse = Purse(budget, rates_of(budget), prompt=5, most_tokens=20)
    return Desk(one, purse, cost=lambda sample: {"tokens": sample.completion_tokens})


def test_the_last_sample_of_a_budget_can_be_judged() -> None:
    at = desk(Budget(samples=2))
    assert len(asyncio.run(at.draw(2))) == 2
    asyncio.run(at.aside(10, 128, judge))
    assert asyncio.run(at.draw(1)) == []


def test_a_judge_says_more_than_a_sample_may_and_takes_it_out_of_the_budget_first() -> None:
    """Samples are bound to 20 tokens, what judges them to 128: held too, or a budget of 100 would be overspent."""
    at = desk(Budget(tokens=100))
    asyncio.run(at.draw(1))
    with pytest.raises(DrawError, match="no room for a judge"):
        asyncio.run(at.aside(10, 128, judge))


def test_a_judge_for_whom_there_is_no_room_takes_nothing() -> None:
    at = desk(Budget(samples=2, tokens=130))
    asyncio.run(at.draw(1))
    with pytest.raises(DrawError, match="budget of tokens has no room for a judge"):
        asyncio.run(at.aside(10, 128, judge))
    assert len(asyncio.run(at.draw(2))) == 1
