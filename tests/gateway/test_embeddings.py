"""/v1/embeddings with the official client: every form of input, both encodings, fewer dimensions."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openai
import pytest
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from .conftest import House

COUNTS = ("prompt_tokens", "total_tokens")
TEXTS = ["lost card", "money sent to the bank"]


def test_floats_and_base64_hold_the_same_numbers(house: House) -> None:
    vectors = house.openai().embeddings.create(model="route", input=TEXTS, encoding_format="float")
    packed = house.http().post("/v1/embeddings", json={"model": "route", "input": TEXTS, "encoding_format": "base64"})
    for plain, row in zip(vectors.data, packed.json()["data"], strict=True):
        numbers = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
        assert np.array_equal(numbers, np.array(plain.embedding, "<f4"))
    told, packed_told = vectors.usage.model_dump(), packed.json()["usage"]
    assert [packed_told[name] for name in COUNTS] == [told[name] for name in COUNTS]


def test_token_arrays_are_embedded_as_their_text_is(house: House, tiny_bert: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_bert / "tokenizer.json"))
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    client = house.openai()
    texts = client.embeddings.create(model="route", input=TEXTS)
    arrays = client.embeddings.create(model="route", input=ids)
    assert [row.embedding for row in arrays.data] == [row.embedding for row in texts.data]
    assert [getattr(arrays.usage, name) for name in COUNTS] == [getattr(texts.usage, name) for name in COUNTS]
    one = client.embeddings.create(model="route", input=ids[0])
    assert len(one.data) == 1
    assert np.allclose(one.data[0].embedding, texts.data[0].embedding, atol=1e-5)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_fewer_dimensions_are_the_first_ones_at_length_one(house: House, form: str) -> None:
    client = house.openai()
    full = client.embeddings.create(model="route", input=TEXTS)
    cut = client.embeddings.create(model="route", input=TEXTS, dimensions=8, encoding_format=form)
    for whole, short in zip(full.data, cut.data, strict=True):
        numbers = short.embedding
        if form == "base64":
            numbers = np.frombuffer(base64.b64decode(str(numbers)), "<f4").tolist()
        expected = np.array(whole.embedding[:8]) / np.linalg.norm(whole.embedding[:8])
        assert np.allclose(numbers, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dimensions": 33}, "this model has 32"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "give 'float' or 'base64'"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "neither a text nor a list of token ids"),
        ({"input": [1, "a"]}, "neither a text nor a list of token ids"),
        ({"input": [5, 10_000]}, "this model has tokens 0 to"),
        ({"input": [-1]}, "this model has tokens 0 to"),
        ({"input": "card " * 100}, "the context is 64"),
        ({"normalize": True}, "unknown field 'normalize'"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(house: House, wrong: dict[str, object], words: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        house.openai().post("/embeddings", body={"model": "route", "input": "x", **wrong}, cast_to=object)
    assert words in refusal.value.message
