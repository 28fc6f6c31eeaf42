"""What each sampling parameter means."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.serving.engine import Sampling
from tokenworks.serving.sampler import choose, log_softmax, penalised, probabilities

LOGITS = np.array([2.0, 1.0, 0.0, -1.0])
logit_lists = st.lists(st.floats(-20, 20), min_size=2, max_size=12)


@given(values=logit_lists, top_p=st.floats(0.01, 1), top_k=st.integers(0, 12), temperature=st.floats(0.05, 2))
def test_what_is_sampled_from_sums_to_one_and_keeps_the_likeliest(
    values: list[float], top_p: float, top_k: int, temperature: float
) -> None:
    logits = np.array(values)
    kept = probabilities(logits, Sampling(temperature=temperature, top_p=top_p, top_k=top_k))
    assert abs(kept.sum() - 1) < 1e-9
    assert logits[kept.argmax()] >= logits.max() - 1e-9
    assert top_k == 0 or (kept > 0).sum() <= top_k


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    plain = probabilities(LOGITS, Sampling())
    kept = probabilities(LOGITS, Sampling(top_p=float(plain[0] + plain[1] / 2)))
    assert list(kept > 0) == [True, True, False, False]


def test_temperature_zero_is_the_likeliest_token() -> None:
    assert choose(LOGITS, Sampling(temperature=0.0), np.random.default_rng(0)) == 0


def test_presence_counts_once_and_frequency_each_time() -> None:
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    assert list(penalised(LOGITS, sampling, [3], {0: 2})) == [2.0 - 0.5 - 0.5, 1.0, 0.0, -1.0]


def test_repetition_pushes_prompt_and_answer_tokens_down_on_either_side_of_zero() -> None:
    assert list(penalised(LOGITS, Sampling(repetition_penalty=2.0), [3], {0: 1})) == [1.0, 1.0, 0.0, -2.0]


def test_log_probabilities_are_normalised() -> None:
    assert abs(np.exp(log_softmax(LOGITS)).sum() - 1) < 1e-12
