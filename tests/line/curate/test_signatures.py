from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.line.curate.copies import band_keys
from tokenworks.line.curate.signatures import BANDS, PERMUTATIONS, shingles, signatures, similarity

WORDS = [f"word{number}" for number in range(5000)]


def pair(overlap: float, seed: int, size: int = 1500) -> tuple[str, str]:
    rng = random.Random(seed)
    words = rng.choices(WORDS, k=size)
    cut = int(size * overlap)
    return " ".join(words), " ".join(words[:cut] + rng.choices(WORDS, k=size - cut))


def jaccard(left: str, right: str) -> float:
    one, two = set(shingles(left).tolist()), set(shingles(right).tolist())
    return len(one & two) / len(one | two)


def test_equal_texts_have_equal_signatures_whatever_their_case_and_punctuation():
    made = signatures(["The quick, brown fox jumps!", "the quick brown fox JUMPS"])
    assert made.shape == (2, PERMUTATIONS)
    assert similarity(made[0], made[1]) == 1.0


def test_the_estimate_is_near_the_true_jaccard_index():
    errors = []
    for seed in range(40):
        left, right = pair(random.Random(seed).random(), seed)
        made = signatures([left, right])
        errors.append(abs(similarity(made[0], made[1]) - jaccard(left, right)))
    assert float(np.mean(errors)) < 0.06
    assert max(errors) < 0.2


def test_near_copies_share_a_band_and_strangers_do_not():
    found = strangers = 0
    for seed in range(60):
        near, far = pair(0.95, seed), pair(0.1, seed)
        keys = [set(band_keys(each)) for each in signatures([*near, *far])]
        found += bool(keys[0] & keys[1])
        strangers += bool(keys[2] & keys[3])
    assert found >= 58
    assert strangers == 0
    assert len(keys[0]) == BANDS


def test_a_batch_gives_what_single_texts_give():
    texts = [pair(0.5, seed)[0] for seed in range(5)]
    single = np.concatenate([signatures([text]) for text in texts])
    assert np.array_equal(signatures(texts), single)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_a_signature(text):
    assert len(shingles(text)) >= 1
    assert signatures([text]).shape == (1, PERMUTATIONS)
