"""Every file in line/evaluate/graders/ keeps the contract of `grade.Metric`."""

import math

import pytest

from tokenworks import parts
from tokenworks.line.evaluate.grade import ROOM, metric_named
from tokenworks.line.evaluate.report import Item


def items(scores):
    return [
        Item(id=str(i), score=float(score), group="ab"[i % 2], predicted="ab"[(i + (score != 1)) % 2], weight=10.0)
        for i, score in enumerate(scores)
    ]


@pytest.fixture(params=parts.names(ROOM))
def metric(request):
    return metric_named(request.param)


def test_it_says_which_way_is_better(metric):
    assert metric.BETTER in ("higher", "lower")


@pytest.mark.parametrize("scores", [[], [1], [0], [1, 0, 1], [1] * 30])
def test_its_figure_is_never_nan_and_lies_within_its_interval(metric, scores):
    figure = metric.figure(items(scores))
    assert figure.n == len(scores)
    assert all(math.isfinite(value) for value in (figure.value, figure.low, figure.high))
    assert figure.low <= figure.value <= figure.high
    assert figure.method


def test_a_better_model_compares_as_better_and_a_worse_one_as_worse(metric):
    high, low = items([1] * 60), items([0, 0, 1] * 20)
    better, worse = (high, low) if metric.BETTER == "higher" else (low, high)
    up, down = metric.compare(better, worse, alpha=0.05), metric.compare(worse, better, alpha=0.05)
    assert up.difference > 0 > down.difference
    assert up.superior
    assert down.inferior
    assert up.low <= up.difference <= up.high


def test_a_model_compared_with_itself_is_neither(metric):
    same = items([1, 0] * 30)
    pair = metric.compare(same, same, alpha=0.05)
    assert pair.difference == 0
    assert not pair.superior
    assert not pair.inferior


def test_nothing_in_common_proves_nothing(metric):
    pair = metric.compare([], [], alpha=0.05)
    assert pair.n == 0
    assert not pair.superior
