"""The byte baselines: real probabilities, in the same shape as the model's scores."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import DataError
from tokenworks.line.evaluate.baselines import bytes as baselines


def corpus(folder: Path, *texts: str) -> Path:
    write_parts(
        folder,
        [
            Document(path=f"{number}.txt", source="s", sha256="0" * 64, media_type="text/plain", text=text)
            for number, text in enumerate(texts)
        ],
    )
    return folder


def rate(found) -> float:
    return sum(bits for _, bits, _ in found) / sum(size for _, _, size in found)


def distribution(seen: bytes, context: bytes, order: int) -> list[float]:
    """Return P(byte | context) for all 256 bytes."""
    tokens = baselines._joined([seen])
    found = []
    for value in range(256):
        asked = baselines._joined([context + bytes([value])])
        found.append(2.0 ** -baselines._bits(tokens, asked, order)[-1])
    return found


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", [b"", b"a", b"abra", b"never seen"])
def test_the_probabilities_of_all_bytes_sum_to_one(order, context):
    seen = b"abracadabra, said the magician; abracadabra again and again" * 3
    assert sum(distribution(seen, context, order)) == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=2, max_size=60), st.binary(max_size=5), st.integers(1, 4))
def test_any_bytes_give_a_distribution(seen, context, order):
    assert sum(distribution(seen, context, order)) == pytest.approx(1.0, abs=1e-9)


def test_lower_orders_count_neighbours_not_occurrences():
    # 'francisco' effect: x is frequent but only ever after q, so after an unseen context y, with many neighbours, wins.
    seen = b"qx" * 50 + b"ay by cy dy ey fy gy "
    after_unseen = distribution(seen, b"Z", 2)
    assert after_unseen[ord("y")] > after_unseen[ord("x")]


def test_a_text_that_was_seen_is_cheap_and_noise_costs_eight_bits(tmp_path):
    rng = random.Random(0)
    known = "The quick brown fox jumps over the lazy dog. " * 40
    noise = "".join(chr(rng.randrange(33, 127)) for _ in range(2000))
    train = corpus(tmp_path / "train", known)
    held = corpus(tmp_path / "held", known[:900], noise)
    found = {path: bits / size for path, bits, size in baselines.ngram_bits(train, held, orders=(4, 6))}
    assert found["0.txt"] < 0.3
    assert found["1.txt"] > math.log2(94) * 0.98


def test_a_document_is_scored_from_its_own_prefix_only(tmp_path):
    train = corpus(tmp_path / "train", "alpha beta gamma delta " * 30)
    both = baselines.ngram_bits(train, corpus(tmp_path / "both", "alpha beta", "gamma delta"), orders=(5,))
    swapped = baselines.ngram_bits(train, corpus(tmp_path / "swapped", "gamma delta", "alpha beta"), orders=(5,))
    assert both[0][1] == pytest.approx(swapped[1][1])
    assert both[1][1] == pytest.approx(swapped[0][1])


def test_the_best_order_is_kept_and_every_order_is_reported(tmp_path):
    train = corpus(tmp_path / "train", "for number in range(10): print(number)\n" * 50)
    held = corpus(tmp_path / "held", "for letter in range(10): print(letter)\n" * 3)
    score = baselines.ngram_score(train, held, orders=(2, 3, 5))
    assert set(score.bits_per_byte) == {2, 3, 5}
    assert score.bits_per_byte[score.order] == min(score.bits_per_byte.values()) == pytest.approx(rate(score.documents))


def test_zstd_may_copy_from_the_training_text(tmp_path):
    rng = random.Random(1)
    text = "".join(rng.choice("abcdefgh ") for _ in range(20_000))
    held = corpus(tmp_path / "held", text[5_000:9_000])
    with_text = rate(baselines.zstd_bits(corpus(tmp_path / "train", text), held))
    without = rate(baselines.zstd_bits(corpus(tmp_path / "other", "x"), held))
    assert with_text < 0.2 < 3.0 < without


def test_unicode_empty_and_one_byte_documents_are_counted_in_utf8(tmp_path):
    train = corpus(tmp_path / "train", "Größe 🚀 naïve", "")
    held = corpus(tmp_path / "held", "ö", "", "x", "🚀")
    for found in (baselines.ngram_bits(train, held, orders=(3,)), baselines.zstd_bits(train, held)):
        assert [(path, size) for path, _, size in found] == [("0.txt", 2), ("2.txt", 1), ("3.txt", 4)]
        assert all(np.isfinite(bits) and bits > 0 for _, bits, _ in found)


def test_max_bytes_takes_whole_documents_and_at_least_one(tmp_path):
    train = corpus(tmp_path / "train", "some text to learn from")
    held = corpus(tmp_path / "held", "a" * 100, "b" * 100, "c" * 10)
    for found in (
        baselines.ngram_bits(train, held, orders=(2,), max_bytes=120),
        baselines.zstd_bits(train, held, max_bytes=120),
    ):
        assert [size for _, _, size in found] == [100, 10]
    assert len(baselines.zstd_bits(train, held, max_bytes=1)) == 1


def test_nothing_to_score_is_a_clear_error(tmp_path):
    train = corpus(tmp_path / "train", "text")
    with pytest.raises(DataError, match="no text to score"):
        baselines.ngram_bits(train, corpus(tmp_path / "held", ""))
