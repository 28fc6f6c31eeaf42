"""Where a candidate may show a gain, and how often equals do."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.line.evaluate.asking import Reply
from tokenworks.line.evaluate.gains import POOLED, SURER, look_for
from tokenworks.line.evaluate.gold import Gold
from tokenworks.line.evaluate.graders import accuracy
from tokenworks.line.evaluate.judging import judge
from tokenworks.line.evaluate.report import QUADRATIC, Evaluation, Item


def evaluation(right, sure=None):
    """Return an evaluation of items that were `right`, with the probability that was given to the class named."""
    items = [Item(id=str(number), score=float(ok)) for number, ok in enumerate(right)]
    if sure is not None:
        items = [
            msgspec.structs.replace(item, parts={QUADRATIC: 2 * p * item.score - p * p})
            for item, p in zip(items, sure, strict=True)
        ]
    return Evaluation(task="t", kind="classify", model_ref="m", metric="accuracy", figures={}, items=tuple(items))


def gains(candidate, incumbent, fresh=None):
    return look_for(candidate, incumbent, fresh, accuracy, 0.05)


def test_a_model_that_is_surer_of_what_is_right_has_gained():
    right = [True] * 180 + [False] * 20
    found = gains(evaluation(right, [0.9] * 180 + [0.4] * 20), evaluation(right, [0.8] * 180 + [0.5] * 20))
    assert not found.by_metric["gold"].superior
    assert found.alpha == 0.05 / 2
    (why,) = found.shown
    assert why.startswith("it is surer of what is right by +0.0")


def test_to_be_sure_of_what_is_wrong_is_no_gain():
    right = [True] * 180 + [False] * 20
    found = gains(evaluation(right, [0.9] * 180 + [1.0] * 20), evaluation(right, [0.9] * 180 + [0.4] * 20))
    assert found.surer is not None
    assert found.surer.difference < 0
    assert found.shown == ()


def test_surer_and_seen_to_do_worse_is_no_gain():
    found = gains(
        evaluation([True] * 179 + [False] * 21, [0.99] * 179 + [0.2] * 21),
        evaluation([True] * 180 + [False] * 20, [0.7] * 180 + [0.5] * 20),
    )
    assert found.pairs[SURER].superior
    assert found.shown == ()


def test_answers_without_probabilities_have_their_classes_alone():
    old, new = [False] * 100 + [True] * 100, [True] * 200
    found = gains(evaluation(new), evaluation(old, [0.9] * 200))
    assert set(found.pairs) == {"gold"}
    assert found.alpha == 0.05
    assert found.shown


def test_each_chance_has_its_part_of_alpha():
    right, sure = [True] * 50, [0.9] * 50
    one = evaluation(right, sure)
    found = gains(one, one, (one, one))
    assert set(found.pairs) == {POOLED, "fresh", SURER}
    assert {pair.alpha for pair in found.pairs.values()} == {0.05 / 3}
    assert found.by_metric[POOLED].n == 100


@pytest.mark.parametrize("n", [80, 500])
def test_equals_show_a_gain_no_more_often_than_alpha(n):
    rng, rounds = np.random.default_rng(n), 100

    def one(count):
        sure = rng.beta(4, 1, count)
        return evaluation((rng.random(count) < sure).tolist(), sure.tolist())

    shown = sum(bool(gains(one(n), one(n), (one(40), one(40))).shown) for _ in range(rounds))
    assert shown / rounds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)


@settings(max_examples=40, deadline=None)
@given(true=st.floats(0, 1), claimed=st.floats(0, 1))
def test_no_claim_beats_the_truth(true, claimed):
    def expected(p):
        hit, missed = (judged([p, 0.0], label)[0].parts[QUADRATIC] for label in ("a", "b"))
        return true * hit + (1 - true) * missed

    assert expected(claimed) <= expected(true) + 1e-12


def judged(probs, label):
    body = {"data": [{"index": 0, "label": "a", "probs": probs}]}
    gold = Gold(id="1", row={"label": label}, text="?")
    return judge([gold], [Reply(body=body, latency_s=0.1)], kind="classify", metric="accuracy")


def test_a_failed_answer_counts_as_sure_and_wrong():
    gold = Gold(id="1", row={"label": "a"}, text="?")
    (item,) = judge([gold], [Reply(error="gone")], kind="classify", metric="accuracy")
    assert item.parts[QUADRATIC] == -1.0
    assert QUADRATIC not in judged([], "a")[0].parts
