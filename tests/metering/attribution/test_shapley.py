"""Shapley's values, and how near to them the split of steps comes on the simulator of benchmarks/attribution.py."""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tokenworks.metering.attribution.learning import StepCost
from tokenworks.metering.attribution.shapley import shapley
from tokenworks.metering.attribution.split import split


@pytest.fixture(scope="module")
def simulator() -> ModuleType:
    folder = str(Path(__file__).parents[3] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import _attribution_simulator
    finally:
        sys.path.remove(folder)
    return _attribution_simulator


def test_values_are_the_mean_over_all_orders() -> None:
    def cost(members: frozenset[int]) -> float:
        return 5.0 * bool(members) + sum((at + 1) ** 2 for at in members) + (3.0 if {0, 2} <= members else 0.0)

    expected = np.zeros(4)
    for order in permutations(range(4)):
        for place, at in enumerate(order):
            expected[at] += (cost(frozenset(order[: place + 1])) - cost(frozenset(order[:place]))) / 24
    assert shapley(4, cost) == pytest.approx(expected)


def test_who_makes_no_difference_pays_nothing() -> None:
    assert shapley(3, lambda members: 7.0 if 1 in members else 0.0) == pytest.approx([0.0, 7.0, 0.0])


def test_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="131072 coalitions"):
        shapley(17, len)


@pytest.mark.parametrize("learns", [False, True])
def test_the_split_of_steps_is_within_a_tenth_of_shapley(simulator: ModuleType, learns: bool) -> None:
    rng = np.random.default_rng(3)
    model, cost = simulator.MODELS[0], StepCost()
    requests = [
        simulator.Request(float(at_s), int(rng.integers(100, 1500)), int(rng.integers(20, 60)))
        for at_s in np.sort(rng.uniform(0, 0.3, 6))
    ]
    truth = shapley(6, lambda who: sum(step.seconds for step in simulator.simulate(model, requests, who)))
    given = [0.0] * 6
    for _ in range(6 if learns else 1):
        given = [0.0] * 6
        for step in simulator.simulate(model, requests):
            works_s = [simulator.own_s(model, part) for part in step.parts]
            if learns:
                works_s = cost.works_s([(part.new, part.context) for part in step.parts], step.seconds)
            for part, seconds in zip(step.parts, split(step.seconds, works_s), strict=True):
                given[part.request] += seconds
    assert sum(given) == pytest.approx(sum(truth))
    assert sum(abs(one - true) for one, true in zip(given, truth, strict=True)) < 0.1 * sum(truth)
    by_tokens = [one.prompt_tokens + one.answer_tokens for one in requests]
    flat = [sum(truth) * one / sum(by_tokens) for one in by_tokens]
    assert sum(abs(one - true) for one, true in zip(flat, truth, strict=True)) > 0.1 * sum(truth)
