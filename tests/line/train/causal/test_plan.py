"""A budget becomes a size and a number of steps, and the law decides between sizes by measured speed."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tokenworks.core.errors import ConfigError
from tokenworks.line.train.causal.allocator import kept_memory
from tokenworks.line.train.causal.budget import Budget, parse_budget
from tokenworks.line.train.causal.loop import schedule
from tokenworks.line.train.causal.plan import (
    MOST_EPOCHS,
    choose,
    ladder,
    tokens_per_s,
    windows_per_step,
)

SHAPES = list(ladder(4096, 256))


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("90s", "seconds", 90), ("3m", "seconds", 180), ("1.5h", "seconds", 5400), ("2e15 flops", "flops", 2e15),
        ("2M tokens", "tokens", 2e6), ("500 tokens", "tokens", 500), ("1.5B tokens", "tokens", 1.5e9),
        ("6k tokens", "tokens", 6e3),
    ],
)  # fmt: skip
def test_a_budget_is_time_flops_or_tokens(text, kind, amount):
    assert parse_budget(text) == Budget(kind=kind, amount=amount)


@pytest.mark.parametrize("text", ["", "3", "m", "0s", "-3m", "3 minutes or so", "nan s", "2M"])
def test_another_budget_is_refused_with_the_ways_to_write_it(text):
    with pytest.raises(ConfigError, match="2M tokens"):
        parse_budget(text)


def test_a_tenfold_budget_takes_a_larger_model():
    small, large = (
        choose(SHAPES, Budget(kind="flops", amount=amount), 1e12, seconds=1, speed=lambda shape: 1.0)[0]
        for amount in (1e16, 1e18)
    )
    assert large.parameters > 2 * small.parameters


def test_a_faster_machine_gets_more_tokens_in_the_same_time():
    budget = Budget(kind="seconds", amount=100)
    slow, fast = (
        choose(SHAPES, budget, 1e12, seconds=100, speed=lambda shape, rate=rate: rate / shape.multiplied)[1]
        for rate in (1e10, 1e11)
    )
    assert max(one.tokens for one in fast) > max(one.tokens for one in slow)


def test_the_chosen_size_has_the_lowest_expected_loss_of_those_measured():
    shape, measured = choose(
        SHAPES, Budget(kind="seconds", amount=100), 3e6, seconds=100, speed=lambda shape: 5e10 / shape.multiplied
    )
    best = min(measured, key=lambda one: one.expected_loss)
    assert best.width == shape.width
    assert len(measured) >= 2


@pytest.mark.parametrize("unique", [5e4, 3e6, 1e12])
def test_a_budget_in_tokens_is_not_spent_on_a_model_that_they_cannot_fill(unique):
    def taken(tokens):
        return choose(SHAPES, Budget(kind="tokens", amount=tokens), unique, seconds=1, speed=lambda shape: 1.0)[0]

    assert taken(2e4).width == SHAPES[0].width
    assert taken(2e6).multiplied < 1e7
    assert taken(2e4).multiplied <= taken(2e6).multiplied <= taken(2e8).multiplied


@pytest.mark.parametrize("budget", [Budget(kind="tokens", amount=2e7), Budget(kind="flops", amount=1e16)])
def test_a_budget_that_no_clock_counts_measures_only_the_size_that_is_taken(budget):
    tried = []

    def speed(shape):
        tried.append(shape)
        return 1000.0

    shape, looked_at = choose(SHAPES, budget, 1e12, seconds=1, speed=speed)
    assert tried == [shape]
    assert (len(looked_at) == 1) == (budget.kind == "tokens")
    assert [one.width for one in looked_at if one.tokens_per_s] == [shape.width]
    assert min(looked_at, key=lambda one: one.expected_loss).width == shape.width


def test_a_small_corpus_is_not_read_for_ever():
    _, measured = choose(SHAPES, Budget(kind="tokens", amount=1e9), 1e4, seconds=1, speed=lambda shape: 1.0)
    assert all(one.tokens <= MOST_EPOCHS * 1e4 for one in measured)


def test_a_short_run_takes_smaller_batches_rather_than_few_steps():
    assert windows_per_step(1e7, 256) == 16
    assert windows_per_step(2e5, 256) == 3
    assert windows_per_step(10, 256) == 1


def test_heads_divide_the_width_and_rotary_pairs_exist():
    for shape in SHAPES:
        assert shape.width % shape.heads == 0
        assert shape.width // shape.heads % 2 == 0


def test_whole_steps_are_measured():
    shape = next(iter(ladder(300, 16)))
    assert tokens_per_s(shape, 4, torch.float32, seconds=0.0) > 0


def test_the_rate_warms_up_holds_and_cools_to_nearly_nothing():
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] == 0.05
    assert rates[300] == 1.0
    assert 0 < rates[999] < 0.01
    assert all(one >= other for one, other in pairwise(rates[20:]))
    assert schedule(0, 1) == 1.0


def test_kept_memory_is_understood_by_glibc_and_given_back():
    with kept_memory() as understood:
        torch.ones(1 << 20).add_(1)
    assert understood in (True, False)
