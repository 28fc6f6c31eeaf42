"""What a token costs, learned from steps."""

from __future__ import annotations

import numpy as np
import pytest

from tokenworks.metering.attribution.learning import StepCost


def steps(cost: StepCost, count: int, *, floor_s: float, new_s: float, read_s: float, noise: float = 0.0) -> None:
    rng = np.random.default_rng(1)
    for _ in range(count):
        tokens = [(int(rng.integers(1, 64)), int(rng.integers(1, 2000))) for _ in range(int(rng.integers(1, 12)))]
        new, read = map(sum, zip(*tokens, strict=True))
        seconds = (floor_s + new * new_s + read * read_s) * (1 + noise * rng.standard_normal())
        cost.works_s(tokens, seconds)


def test_until_it_has_learned_new_tokens_count() -> None:
    assert StepCost().works_s([(1, 500), (3, 3)], 0.4) == pytest.approx([0.1, 0.3])


def test_it_learns_what_a_new_and_a_read_token_cost() -> None:
    cost = StepCost()
    steps(cost, 400, floor_s=4e-3, new_s=50e-6, read_s=1e-6, noise=0.03)
    assert cost.works_s([(10, 0), (0, 1000)], 1.0) == pytest.approx([500e-6, 1e-3], rel=0.15)


def test_no_cost_is_ever_negative() -> None:
    cost = StepCost()
    steps(cost, 400, floor_s=4e-3, new_s=50e-6, read_s=-2e-7)
    assert min(cost.works_s([(10, 0), (0, 1000)], 1.0)) >= 0


def test_a_step_that_lost_the_processor_teaches_nothing() -> None:
    cost = StepCost()
    for number in range(512):
        cost.works_s([(1 + number % 8, 0)], 5.0 if number % 20 == 7 else 1e-3 * (1 + number % 8))
    assert cost.works_s([(1, 0)], 1.0) == pytest.approx([1e-3], rel=0.1)
