"""Comparing two models on the same items."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tokenworks.line.evaluate.paired import items_needed, mcnemar, paired_losses, paired_scores, sign_flip
from tokenworks.line.evaluate.report import Item


def items(scores, *, cluster=lambda number: "", weights=None):
    return [
        Item(id=str(i), score=float(score), cluster=cluster(i), weight=weights[i] if weights else 1.0)
        for i, score in enumerate(scores)
    ]


@pytest.mark.parametrize(("margin", "needed"), [(0.02, 1546), (0.03, 687), (0.05, 248)])
def test_sample_size_agrees_with_the_published_vectors(margin, needed):
    assert items_needed(margin, 0.1) == needed


def test_no_number_of_items_decides_a_margin_of_nothing():
    with pytest.raises(ValueError, match="margin is 0"):
        items_needed(0.0, 0.1)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(wins, losses):
    expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_sign_flips_of_right_or_wrong_scores_agree_with_mcnemar():
    gain = np.array([1.0] * 14 + [-1.0] * 5 + [0.0] * 100)
    assert sign_flip(gain) == pytest.approx(mcnemar(14, 5), abs=0.01)


def test_equal_models_are_neither_better_nor_worse():
    same = items([1, 0, 1, 1] * 10)
    pair = paired_scores(same, same, alpha=0.05)
    assert (pair.difference, pair.wins, pair.losses) == (0.0, 0, 0)
    assert not pair.superior
    assert not pair.inferior
    assert pair.low < 0 < pair.high  # no disagreement in 40 items is no proof of equality


@pytest.mark.parametrize("n", [40, 200, 2000])
def test_a_clearly_better_model_is_seen_at_every_size(n):
    rng = np.random.default_rng(n)
    old = rng.random(n) < 0.5
    pair = paired_scores(items(old | (rng.random(n) < 0.6)), items(old), alpha=0.05)
    assert pair.superior
    assert not pair.inferior
    assert pair.low <= pair.difference <= pair.high


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_swapping_the_models_mirrors_the_result(answers):
    one, other = items([a for a, _ in answers]), items([b for _, b in answers])
    here, there = paired_scores(one, other, alpha=0.05), paired_scores(other, one, alpha=0.05)
    assert here.difference == pytest.approx(-there.difference)
    assert (here.wins, here.p_better) == (there.losses, there.p_worse)
    assert here.wins == here.losses or here.low == pytest.approx(-there.high)
    assert all(math.isfinite(value) for value in (here.low, here.high, here.p_better, here.spread))


@pytest.mark.parametrize(("n", "disagree"), [(60, 0.2), (250, 0.1), (600, 0.1)])
def test_bounds_hold_as_often_as_they_promise(n, disagree):
    rng = np.random.default_rng(7)
    too_high = 0
    for _ in range(300):
        gain = rng.choice([1, -1, 0], n, p=[disagree / 2, disagree / 2, 1 - disagree])
        pair = paired_scores(items(gain > 0), items(gain < 0), alpha=0.05)
        too_high += pair.low > 0
    assert too_high / 300 < 0.085  # 5 % and three standard errors


def test_clustered_items_widen_the_bounds():
    rng = np.random.default_rng(3)
    per_user = np.repeat(rng.random(60) < 0.6, 10)
    one, other = per_user, ~per_user
    alone = paired_scores(items(one), items(other), alpha=0.05)
    clustered = paired_scores(
        items(one, cluster=lambda i: f"u{i // 10}"), items(other, cluster=lambda i: f"u{i // 10}"), alpha=0.05
    )
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_a_loss_per_document_is_weighted_by_its_bytes_and_lower_is_better():
    weights = [100.0] * 50 + [1.0] * 50
    old = items([2.0] * 100, weights=weights)
    new = items([1.9] * 50 + [4.0] * 50, weights=weights)
    pair = paired_losses(new, old, alpha=0.05)
    assert pair.difference == pytest.approx((100 * 0.1 - 2.0) / 101)
    assert pair.superior


def test_nothing_in_common_is_said_and_proves_nothing():
    pair = paired_scores([], [], alpha=0.05)
    assert pair.n == 0
    assert not pair.superior
    assert not pair.inferior
