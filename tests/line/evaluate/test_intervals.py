"""Intervals hold what they promise, and never turn into NaN."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.line.evaluate import intervals


def test_wilson_agrees_with_published_values():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20 (score method without continuity correction).
    assert intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert intervals.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert intervals.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


@given(st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_brackets_the_share_and_stays_within_zero_and_one(counts):
    right, n = counts
    low, high = intervals.wilson(right, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= right / n <= high


def test_wilson_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    for truth, n in ((0.9, 50), (0.5, 20), (0.97, 200)):
        draws = rng.binomial(n, truth, 2000)
        covered = np.mean([low <= truth <= high for low, high in (intervals.wilson(int(k), n) for k in draws)])
        assert covered > 0.92


def test_a_mean_of_graded_scores_gets_a_bootstrap_that_contains_it():
    scores = np.random.default_rng(0).beta(2, 5, 120).tolist()
    figure = intervals.mean_score("fields", scores)
    assert figure.low < figure.value < figure.high
    assert figure.method == "bootstrap"
    assert intervals.mean_score("fields", scores) == figure


def test_items_of_one_conversation_count_as_less_evidence_than_independent_ones():
    scores = [1.0] * 30 + [0.0] * 30
    alone = intervals.mean_score("accuracy", scores)
    clustered = intervals.mean_score("accuracy", scores, [f"user {number // 10}" for number in range(60)])
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)
    assert "clusters" in clustered.method


@pytest.mark.parametrize("figure", [
    intervals.mean_score("m", []),
    intervals.weighted_mean("m", [], []),
    intervals.weighted_mean("m", [1.0], [0.0]),
    intervals.weighted_mean("m", [1.0], [3.0]),
    intervals.quantile("q", [], 0.95),
    intervals.quantile("q", [0.2], 0.95),
])  # fmt: skip
def test_figures_of_next_to_nothing_are_numbers(figure):
    assert all(math.isfinite(value) for value in (figure.value, figure.low, figure.high))


def test_a_weighted_mean_follows_the_weights():
    figure = intervals.weighted_mean("bits_per_byte", [1.0, 3.0], [3.0, 1.0])
    assert figure.value == pytest.approx(1.5)
    assert figure.low <= 1.5 <= figure.high


def test_the_interval_of_a_quantile_covers_it():
    rng = np.random.default_rng(2)
    truth = math.log(20)  # p95 of the unit exponential
    figures = [intervals.quantile("p95", rng.exponential(size=200).tolist(), 0.95) for _ in range(400)]
    assert np.mean([figure.low <= truth <= figure.high for figure in figures]) > 0.92


def test_a_quantile_of_few_values_admits_that_the_interval_is_cut():
    assert "cut" in intervals.quantile("p95", [1.0, 2.0, 3.0], 0.95).method
    assert "cut" not in intervals.quantile("p50", [float(i) for i in range(100)], 0.5).method
