"""The embedded engine measured on this machine, and a piece of a trace scaled to it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from tokenworks.core.errors import TokenworksError
from tokenworks.factory.planning.asking import Answered
from tokenworks.factory.planning.here import Here, Played, check, compare, measure, scaled
from tokenworks.planning.batching import Cost
from tokenworks.planning.fitting import Fitted
from tokenworks.planning.simulate import simulate
from tokenworks.planning.trace import Trace


def trace(count=2000):
    rng = np.random.default_rng(0)
    return Trace(np.cumsum(rng.exponential(0.2, count)), rng.integers(50, 4000, count), rng.integers(5, 600, count))


def known(context_length=1000, most=8):
    cost = Cost(
        step_s=tuple(0.002 + 0.0005 * n for n in range(most + 1)), context_s=(0.0, *[1e-8] * most), prompt_s=2e-5
    )
    return Here(folder="", fitted=Fitted(cost=cost, error=0.0), context_length=context_length, most=most)


def test_a_trace_is_scaled_to_lengths_that_fit_and_a_pace_that_is_kept():
    full, paced = scaled(known(), trace(), seconds=60)
    for one in (full, paced):
        assert (one.prompt + one.answer).max() < 1000
    assert full.arrival_s.max() == 0
    found = simulate(paced, known().fitted.cost, known().scheduler)
    assert 0.4 < simulate(full, known().fitted.cost, known().scheduler).end_s / found.end_s < 1.6
    assert found.end_s == pytest.approx(30, rel=0.4)


def test_the_pace_leaves_the_bursts_as_they_were():
    _, paced = scaled(known(), trace(), seconds=60)
    assert paced.burstiness == pytest.approx(trace().first(len(paced)).burstiness, rel=1e-6)


def test_a_real_engine_is_measured_and_its_predictions_are_held_against_it(tiny_llama):
    pytest.importorskip("openvino_genai", reason="the extra 'generate' is not installed")
    here = measure(tiny_llama, most=4, rounds=1)
    cost = here.fitted.cost
    assert len(cost.step_s) > 4
    assert min(cost.step_s[1:]) > 0
    assert cost.serve_s > 0
    assert 0 < here.cache_tokens < math.inf
    # A batch of four is cheaper than four times one: that is why engines batch.
    assert cost.step_s[4] < 4 * cost.step_s[1]
    found = check(here, trace(), seconds=2)
    assert set(found.figures) >= {"tokens_per_s at full speed", "p95 latency_s", "p95 ttft_s"}
    assert all(math.isfinite(error) for error in found.errors.values())


def test_more_run_at_once_than_were_measured_where_tokens_and_cache_allow_it():
    here = known()
    assert here.scheduler.sequences > here.most
    assert here.scheduler.keeps == "grown"


def test_what_is_predicted_for_callers_is_what_callers_ask():
    played = Played(*scaled(known(), trace(), seconds=20), at_once=answered(40), on_pace=answered(40))
    lonely = msgspec.structs.replace(known(), most=1)
    predicted = [compare(one, played).figures["tokens_per_s at full speed"][0] for one in (known(), lonely)]
    assert predicted[0] > 1.5 * predicted[1]


def answered(count):
    return [
        Answered(asked_s=n / 10, ttft_s=0.1, latency_s=0.5, prompt_tokens=10, answer_tokens=10) for n in range(count)
    ]


def test_an_encoder_is_no_model_to_plan_with(tiny_bert):
    with pytest.raises(TokenworksError):
        measure(tiny_bert)
