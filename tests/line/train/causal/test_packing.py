"""Every token once an epoch, in an order that only seed and step decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.stage import silent
from tokenworks.line.train.causal.packing import Windows, chosen_texts, held_out_windows, stream
from tokenworks.line.train.causal.tokenizer import END, SPECIAL, encode, train_tokenizer, vocabulary_size

TEXT = ["def one():\n    return 1\n" * 5, "Größe 🚀 naïve\t\ttabs\r\n\r\n", "x", " leading and trailing "]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 400), st.integers(2, 30), st.integers(1, 5), st.integers(0, 50))
def test_targets_follow_inputs_by_one_token_whatever_the_length(length, context, batch, step):
    tokens = np.arange(length, dtype=np.int32)
    inputs, targets = Windows(tokens, context, batch, 7).at(step)
    assert inputs.shape == targets.shape == (batch, context)
    assert ((inputs + 1) % length == targets % length).all()


def test_an_epoch_shows_each_window_once_and_the_next_is_another_order():
    windows = Windows(np.arange(1001, dtype=np.int32), 10, 1, 0)
    epochs = [[windows.at(epoch * 99 + n)[0][0, 0] for n in range(99)] for epoch in range(2)]
    assert len(set(epochs[0])) == 99
    assert epochs[0] != epochs[1]


def test_a_step_does_not_depend_on_the_steps_before_it():
    tokens = np.arange(500, dtype=np.int32)
    walked = Windows(tokens, 8, 4, 3)
    for step in range(40):
        last = walked.at(step)[0]
    assert (Windows(tokens, 8, 4, 3).at(39)[0] == last).all()


def test_documents_stand_between_separators():
    tokenizer = train_tokenizer(TEXT, 300)
    end = tokenizer.token_to_id(END)
    tokens = stream(tokenizer, TEXT, report=silent)
    assert tokens[0] == tokens[-1] == end
    assert int((tokens == end).sum()) == len(TEXT) + 1


def test_every_text_comes_back_unchanged():
    tokenizer = train_tokenizer(TEXT, 320)
    for ids, text in zip(encode(tokenizer, TEXT), TEXT, strict=True):
        assert tokenizer.decode(ids) == text


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_any_text_comes_back_unchanged(text):
    tokenizer = train_tokenizer(["some other text"], 300)
    [ids] = encode(tokenizer, [text])
    assert tokenizer.decode(ids) == text.encode("utf-8", "replace").decode()


def test_text_that_looks_like_a_separator_is_text():
    tokenizer = train_tokenizer(TEXT, 300)
    [ids] = encode(tokenizer, [f"a{END}b"])
    assert tokenizer.token_to_id(END) not in ids
    assert tokenizer.decode(ids) == f"a{END}b"


def test_the_same_texts_train_the_same_tokenizer():
    assert train_tokenizer(TEXT, 320).to_str() == train_tokenizer(TEXT, 320).to_str()
    assert [train_tokenizer(TEXT, 320).token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3]


def test_the_vocabulary_grows_with_the_corpus():
    sizes = [vocabulary_size(size) for size in (10, 500_000, 2_000_000, 10**9)]
    assert sizes == sorted(sizes)


def test_a_share_of_the_documents_is_drawn_by_path_and_never_none(tmp_path: Path):
    documents = [
        Document(path=f"{n}.txt", source="s", sha256="0" * 64, media_type="text/plain", text=f"text {n}")
        for n in range(200)
    ]
    write_parts(tmp_path, documents)
    half = list(chosen_texts(tmp_path, share=0.5, seed=1))
    assert 60 < len(half) < 140
    assert half == list(chosen_texts(tmp_path, share=0.5, seed=1))
    assert len(list(chosen_texts(tmp_path, share=0.0, seed=1))) == 1
    assert len(list(chosen_texts(tmp_path, share=1.0, seed=1))) == 200


def test_held_out_windows_are_spread_and_may_be_absent():
    found = held_out_windows(np.arange(1001, dtype=np.int32), 10, 5)
    assert found is not None
    assert found[0][:, 0].tolist() == [0, 240, 490, 740, 990]
    assert held_out_windows(np.arange(10, dtype=np.int32), 10, 5) is None
