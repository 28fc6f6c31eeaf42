"""No purse is overdrawn, whatever is drawn from it and in whatever order it comes back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.governance.prices import Price
from tokenworks.serving.thinking.budget import MICRO, NANO, SMALLEST_TOKENS, Budget, Purse, rates_of
from tokenworks.serving.thinking.contract import BudgetError


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def purse(budget: Budget, *, prompt: int = 10, most: int | None = None, **rates: float) -> Purse:
    return Purse(budget, rates_of(budget, **rates), prompt=prompt, most_tokens=most)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["samples", "tokens", "seconds", "joules", "money"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_budget_that_buys_nothing_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(BudgetError, match=f"^{field}: ") as refused:
        Budget(**{field: value}).check()  # type: ignore[arg-type]
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("budget", "rates"),
    [
        (Budget(tokens=SMALLEST_TOKENS - 1), {}),
        (Budget(money=0.000001), {"nano_per_prompt": 1000, "nano_per_token": 3000}),
        (Budget(joules=1.0), {"joules_per_token": 0.5}),
    ],
)
def test_a_budget_too_small_for_one_sample_says_what_one_may_come_to(budget: Budget, rates: dict[str, float]) -> None:
    with pytest.raises(BudgetError, match="too small for one sample, which may come to"):
        purse(budget, **rates)


def test_a_caller_who_wants_little_may_have_little() -> None:
    hold = purse(Budget(tokens=5), most=4).take()
    assert hold is not None
    assert hold.tokens == 4


def test_nothing_is_drawn_when_the_time_is_up() -> None:
    clock = Clock()
    opened = Purse(Budget(seconds=2.0), {}, prompt=1, now=clock)
    assert opened.take() is not None
    clock.now_s += 2.0
    assert opened.take() is None
    assert opened.empty == "seconds"


@given(
    tokens=st.integers(SMALLEST_TOKENS, 5000),
    most=st.none() | st.integers(1, 400),
    used=st.lists(st.tuples(st.integers(1, 8), st.floats(0, 1)), max_size=40),
)
def test_tokens_are_never_overspent(tokens: int, most: int | None, used: list[tuple[int, float]]) -> None:
    opened, spent = purse(Budget(tokens=tokens), most=most), 0
    for count, share in used:
        holds = [hold for hold in (opened.take() for _ in range(count)) if hold is not None]
        for hold in reversed(holds):
            assert hold.tokens is not None
            made = round(hold.tokens * share)
            spent += made
            opened.settle(hold, {"tokens": made})
        assert spent <= tokens
    assert opened.left("tokens") == tokens - spent


@given(
    money=st.floats(0.001, 1.0),
    prices=st.tuples(st.integers(0, 50_000), st.integers(0, 50_000), st.integers(1, 200_000)),
    prompt=st.integers(0, 500),
    used=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=30),
)
def test_money_is_never_overspent_in_the_prices_that_are_charged(
    money: float, prices: tuple[int, int, int], prompt: int, used: list[tuple[float, float, float]]
) -> None:
    price = Price(input_nano=prices[0], cached_nano=prices[1], output_nano=prices[2])
    rates = {"nano_per_prompt": max(prices[:2]), "nano_per_token": prices[2]}
    try:
        opened = purse(Budget(money=money), prompt=prompt, **rates)
    except BudgetError:
        return
    prompts = cached = made = 0
    for prompt_share, cached_share, share in used:
        hold = opened.take()
        if hold is None:
            break
        assert hold.tokens is not None
        one = round(prompt * prompt_share), round(prompt * prompt_share * cached_share), round(hold.tokens * share)
        opened.settle(hold, {"money": price.micro(prompt=one[0], cached=one[1], completion=one[2]) * NANO})
        prompts, cached, made = prompts + one[0], cached + one[1], made + one[2]
    assert price.micro(prompt=prompts, cached=cached, completion=made) <= money * MICRO


def test_what_nobody_knows_the_cost_of_counts_as_held() -> None:
    opened = purse(Budget(tokens=100), most=30)
    hold = opened.take()
    assert hold is not None
    opened.settle(hold, {})
    assert opened.left("tokens") == 70


def test_what_was_never_asked_for_costs_nothing() -> None:
    opened = purse(Budget(tokens=100, samples=1), most=30)
    hold = opened.take()
    assert hold is not None
    opened.put_back(hold)
    assert opened.left("tokens") == 100
    assert opened.take() is not None
