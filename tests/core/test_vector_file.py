"""Vectors kept beside the texts that they are of."""

import numpy as np

from tokenworks.core.vector_file import embedded


class Embedding:
    """Embeds a text as its length, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(texts)
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_each_text_is_embedded_once_in_whatever_order_it_returns(tmp_path):
    embed, file = Embedding(), tmp_path / "vectors.safetensors"
    assert embedded(["one", "three", "one"], embed, file)[:, 0].tolist() == [3, 5, 3]
    assert embedded(["seventeen", "three", "one"], embed, file)[:, 0].tolist() == [9, 5, 3]
    assert embed.asked == [["one", "three"], ["seventeen"]]


def test_a_damaged_file_is_made_again(tmp_path):
    embed, file = Embedding(), tmp_path / "vectors.safetensors"
    file.write_bytes(b"damaged")
    assert embedded(["one"], embed, file).tolist() == [[3, 1]]
    embedded(["one"], embed, file)
    assert embed.asked == [["one"]]


def test_a_full_file_forgets_what_was_not_asked_for(tmp_path):
    embed, file = Embedding(), tmp_path / "vectors.safetensors"
    embedded(["one", "three"], embed, file, most=2)
    embedded(["seventeen", "three"], embed, file, most=2)
    embedded(["three", "one"], embed, file, most=2)
    assert embed.asked == [["one", "three"], ["seventeen"], ["one"]]


def test_no_texts_have_no_vectors(tmp_path):
    assert embedded([], Embedding(), tmp_path / "vectors.safetensors").shape[0] == 0
