"""The encoder engine in process, on a tiny BERT."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tokenworks.core.errors import ConfigError, DataError, EngineError
from tokenworks.serving.engine import Options, ParameterError, Sampling
from tokenworks.serving.engines import encoder

CLASSES = ["app", "card", "money"]


@pytest.fixture
def classifier(tiny_bert: Path, tmp_path: Path) -> Path:
    """The tiny BERT with a random head of three classes."""
    folder = tmp_path / "classifier"
    shutil.copytree(tiny_bert, folder)
    weight = np.random.default_rng(1).normal(0, 3, (3, 32)).astype(np.float32)
    save_file({"weight": weight, "bias": np.array([0.1, 0.2, 0.3], np.float32)}, folder / "head.safetensors")
    (folder / "tokenworks.json").write_text(json.dumps({"kind": "classify", "classes": CLASSES}))
    return folder


async def test_embeddings_are_unit_vectors_in_the_order_of_the_texts(tiny_bert):
    engine = encoder.load(tiny_bert, Options(threads=1))
    texts = ["card lost", "please help me with the money", "card lost"]
    found = await engine.embed(texts)
    assert np.allclose(np.linalg.norm(found.values, axis=1), 1, atol=1e-3)
    assert np.allclose(found.values[0], found.values[2], atol=1e-2)
    assert found.tokens == [engine.count_tokens(text) for text in texts]
    assert engine.does == {"embeddings"}
    await engine.close()


async def test_an_answer_does_not_depend_on_who_shares_the_batch(tiny_bert):
    engine = encoder.load(tiny_bert, Options(threads=1, precision="f32"))
    texts = [f"{word} " * count for word in ("card", "money", "app") for count in (1, 3, 9, 20)]
    alone = [(await engine.embed([text])).values[0] for text in texts]
    together = [found.values[0] for found in await asyncio.gather(*(engine.embed([text]) for text in texts))]
    assert np.allclose(alone, together, atol=1e-5)
    await engine.close()


async def test_class_probabilities_sum_to_one_and_follow_the_head(classifier):
    engine = encoder.load(classifier, Options(threads=1, precision="f32"))
    found = await engine.classify(["card lost", "money sent"])
    vectors = np.array((await engine.embed(["card lost", "money sent"])).values)
    from safetensors.numpy import load_file

    head = load_file(classifier / "head.safetensors")
    powers = np.exp(vectors @ head["weight"].T + head["bias"])
    assert np.allclose(found.values, powers / powers.sum(1, keepdims=True), atol=1e-5)
    assert engine.classes == CLASSES
    assert engine.does == {"embeddings", "classify"}
    await engine.close()


async def test_an_answer_that_is_no_number_is_an_error_and_the_engine_lives_on(classifier):
    from safetensors.numpy import load_file

    head = load_file(classifier / "head.safetensors")
    save_file({**head, "bias": head["bias"] * np.nan}, classifier / "head.safetensors")
    engine = encoder.load(classifier, Options(threads=1))
    with pytest.raises(EngineError, match="not a number"):
        await engine.classify(["card lost"])
    assert len((await engine.embed(["card lost"])).values) == 1
    await engine.close()


async def test_a_text_longer_than_the_context_is_refused_for_embedding_and_cut_for_classes(classifier):
    engine = encoder.load(classifier, Options(threads=1))
    long = "card " * 100
    with pytest.raises(ParameterError, match=r"input 1 has 102 tokens, the context is 64"):
        await engine.embed(["card", long])
    found = await engine.classify([long, "card " * 62])
    assert found.tokens == [64, 64]
    assert np.allclose(found.values[0], found.values[1], atol=1e-3)
    await engine.close()


async def test_what_an_encoder_cannot_do_is_said(tiny_bert):
    engine = encoder.load(tiny_bert, Options(threads=1))
    with pytest.raises(EngineError, match="cannot generate"):
        await anext(engine.generate("hello", Sampling()))
    with pytest.raises(EngineError, match="cannot chat"):
        engine.chat_prompt([{"role": "user", "content": "hello"}])
    with pytest.raises(EngineError, match="cannot classify"):
        await engine.classify(["hello"])
    assert (await engine.embed([])).values == []
    await engine.close()


def test_folders_are_recognised_without_loading(tiny_bert, tmp_path):
    assert encoder.serves(tiny_bert)
    assert not encoder.serves(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert not encoder.serves(tmp_path)


def test_a_head_that_does_not_fit_its_classes_is_refused(classifier):
    (classifier / "tokenworks.json").write_text('{"kind": "classify", "classes": ["one"]}')
    with pytest.raises(EngineError, match="names 1 classes"):
        encoder.load(classifier, Options(threads=1))


def test_a_folder_with_a_pickle_is_refused(classifier):
    (classifier / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match="can run code"):
        encoder.load(classifier, Options(threads=1))


def test_a_precision_that_is_not_offered_is_refused(tiny_bert):
    with pytest.raises(ConfigError, match="int8"):
        encoder.load(tiny_bert, Options(precision="int8"))
