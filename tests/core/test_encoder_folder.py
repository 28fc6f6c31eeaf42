"""The format of an encoder folder."""

from __future__ import annotations

import msgspec
import pytest

from tokenworks.core.encoder_folder import CARD, Card, check_folder, read_card
from tokenworks.core.errors import DataError


def test_the_config_of_a_sound_folder_is_returned(tiny_bert):
    config = check_folder(tiny_bert)
    assert (config.hidden_size, config.num_hidden_layers, config.max_position_embeddings) == (32, 2, 64)


def test_a_card_comes_back_as_it_was_written(tmp_path):
    assert read_card(tmp_path) is None
    card = Card(kind="classify", classes=["b", "a"], base="minilm")
    (tmp_path / CARD).write_bytes(msgspec.json.encode(card))
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("model_type", "roberta", "'roberta'"),
        ("position_embedding_type", "relative_key", "relative_key"),
        ("hidden_act", "relu", "'relu'"),
        ("hidden_size", "wide", "hidden_size"),
    ],
)
def test_a_config_that_cannot_be_run_is_refused_by_name(key, value, complaint, tiny_bert, tmp_path):
    config = msgspec.json.decode((tiny_bert / "config.json").read_bytes()) | {key: value}
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).symlink_to(tiny_bert / name)
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(config))
    with pytest.raises(DataError, match=complaint):
        check_folder(tmp_path)
