"""What is predicted comes to what was measured."""

from __future__ import annotations

import random

from tokenworks.core.usage import Usage
from tokenworks.gateway.admission.predict import Expected, Predictor


def taught(requests: int = 200) -> Predictor:
    """Return a predictor of an engine that takes 10 ms a token; tenant `long` gets 200, `short` 20."""
    predictor, rng = Predictor(), random.Random(1)
    for number in range(requests):
        tenant, tokens = ("long", 200) if number % 2 else ("short", 20)
        tokens += rng.randrange(-5, 6)
        expected = predictor.expect(tenant, 10, None)
        predictor.learn(tenant, expected, usage=Usage(prompt_tokens=10, completion_tokens=tokens), took_s=tokens * 0.01)
    return predictor


def test_nothing_is_predicted_before_anything_was_measured():
    assert Predictor().expect("a", 100, 50) == Expected(work=200, service_s=0.0, likely_s=0.0)


def test_each_tenant_is_predicted_by_its_own_answers():
    predictor = taught()
    assert 1.6 < predictor.expect("long", 10, None).service_s < 2.4
    assert 0.1 < predictor.expect("short", 10, None).service_s < 0.4
    assert 0.1 < predictor.expect("nobody knows", 10, None).service_s < 2.0


def test_no_more_is_predicted_than_the_request_allows():
    predictor = taught()
    assert predictor.expect("long", 10, 8).work == 10 + 2 * 8
    assert predictor.expect("long", 10, 8, answers=4).work == 10 + 2 * 32


def test_requests_that_are_cut_off_teach_that_the_engine_is_slower():
    predictor = taught()
    before = predictor.expect("long", 10, None)
    for _ in range(30):
        predictor.learn_cut(predictor.expect("long", 10, None), took_s=20.0)
    after = predictor.expect("long", 10, None)
    assert after.service_s > 2 * before.service_s
    assert after.likely_s > after.service_s


def test_a_request_that_is_given_up_early_teaches_nothing():
    predictor = taught()
    before = predictor.expect("long", 10, None)
    predictor.learn_cut(before, took_s=0.01)
    assert predictor.expect("long", 10, None) == before
