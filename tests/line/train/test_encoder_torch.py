"""The lean BERT: equal to transformers' own, and its pieces keep their promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import DataError
from tokenworks.line.train._encoder_torch import (
    attend,
    batches_by_length,
    embed_rows,
    load_encoder,
    pad,
    thin,
)
from tokenworks.line.train._tokens import tokenize

TEXTS = ["card lost", "please help me with the money i sent to the bank", "app"]


def test_embeddings_equal_those_of_transformers(tiny_bert):
    from transformers import BertModel

    reference = BertModel.from_pretrained(tiny_bert).eval()
    found = embed_rows(load_encoder(tiny_bert), tokenize(tiny_bert, TEXTS))
    for row, vector in zip(tokenize(tiny_bert, TEXTS), found, strict=True):
        with torch.no_grad():
            mean = reference(torch.from_numpy(row)[None]).last_hidden_state.mean(1)[0]
        assert torch.allclose(vector, mean / mean.norm(), atol=1e-5)


def test_bfloat16_stays_close(tiny_bert):
    encoder, rows = load_encoder(tiny_bert), tokenize(tiny_bert, TEXTS)
    cosine = (embed_rows(encoder, rows) * embed_rows(encoder, rows, bf16=True)).sum(1)
    assert float(cosine.min()) > 0.999


def test_a_cut_word_table_changes_nothing_and_comes_back_whole(tiny_bert):
    encoder, rows = load_encoder(tiny_bert), tokenize(tiny_bert, TEXTS)
    before, whole = embed_rows(encoder, rows), encoder.folder_weights()
    used = np.unique(np.concatenate([*rows, np.array([0])]))
    encoder.use_words(used)
    after = embed_rows(encoder, [np.searchsorted(used, row) for row in rows])
    assert torch.equal(before, after)
    again = encoder.folder_weights()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


@pytest.mark.parametrize("length", [5, 60])
def test_attention_equals_torchs_own(length):
    query, key, value = torch.randn(3, 2, 4, length, 8).unbind(0)
    bias = torch.zeros(2, 1, 1, length)
    bias[0, :, :, 3:] = -1e4
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    assert torch.allclose(attend(query, key, value, bias), expected, atol=1e-5)


def test_dropout_drops_its_share_and_repeats_with_its_seed():
    ones, draws = torch.ones(1000, 333), torch.Generator()
    first = thin(ones, 0.1, draws.manual_seed(5))
    assert abs(float((first == 0).float().mean()) - 26 / 256) < 0.01
    assert abs(float(first.mean()) - 1) < 0.01
    assert torch.equal(first, thin(ones, 0.1, draws.manual_seed(5)))
    assert torch.equal(thin(ones, 0.0, draws), ones)


def test_padding_is_masked_only_where_lengths_differ():
    ids, mask = pad([np.array([2, 5, 3]), np.array([2, 3])], 0)
    assert ids.tolist() == [[2, 5, 3], [2, 3, 0]]
    assert mask is not None
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert pad([np.array([2, 3]), np.array([4, 5])], 0)[1] is None


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
def test_batches_cover_every_row_once(lengths, size, seed):
    batches = batches_by_length(lengths, size, np.random.default_rng(seed))
    assert sorted(int(at) for batch in batches for at in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert max(map(len, batches)) <= size


def test_a_missing_tensor_is_named(tiny_bert, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_bert / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((tiny_bert / "config.json").read_bytes())
    with pytest.raises(DataError, match=r"encoder.layer.1.output.dense.weight"):
        load_encoder(tmp_path)
