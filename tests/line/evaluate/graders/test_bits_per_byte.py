"""Bits per byte are exact: every token once, from its own document's prefix, whatever the window."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import DataError
from tokenworks.line.evaluate.graders import bits_per_byte as grader
from tokenworks.line.evaluate.report import Item

CONTEXT = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A random byte-level Llama: one token for each byte."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=CONTEXT, bos_token_id=256, eos_token_id=256, initializer_range=0.5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def corpus(folder: Path, *texts: str) -> Path:
    documents = [
        Document(path=f"{number}.txt", source="s", sha256="0" * 64, media_type="text/plain", text=text)
        for number, text in enumerate(texts)
    ]
    write_parts(folder, documents)
    return folder


def one_by_one(folder: Path, text: str) -> float:
    """Return -log2 P(text) for a text within the context, one token at a time."""
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [256, *Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids]
    bits = 0.0
    with torch.no_grad():
        for place in range(1, len(ids)):
            last = net(torch.tensor([ids[:place]])).logits[0, -1]
            bits -= float(torch.log_softmax(last.double(), -1)[ids[place]]) / math.log(2)
    return bits


@pytest.mark.parametrize("text", ["x", "import os", "Größe 🚀", "a" * (CONTEXT - 1), "b" * CONTEXT])
def test_a_document_within_the_context_is_scored_exactly(model, tmp_path, text):
    [(path, bits, size)] = grader.bits_per_byte(model, corpus(tmp_path / "held", text))
    assert path == "0.txt"
    assert size == len(text.encode())
    assert bits == pytest.approx(one_by_one(model, text), rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 34, 57, 58, 200, 1001])
def test_windows_predict_every_token_once_from_at_least_a_quarter_of_a_context(count):
    predicted = []
    for begin, end, scored in grader._windows(count, CONTEXT):
        assert end - begin - 1 <= CONTEXT
        assert scored >= CONTEXT // 4 or begin == 0
        predicted += range(begin + 1 + scored, end)
    assert predicted == list(range(1, count))


def test_documents_do_not_see_each_other(model, tmp_path):
    both = grader.bits_per_byte(model, corpus(tmp_path / "both", "first text", "second text" * 9))
    swapped = grader.bits_per_byte(model, corpus(tmp_path / "swapped", "second text" * 9, "first text"))
    assert both[0][1] == pytest.approx(swapped[1][1])
    assert both[1][1] == pytest.approx(swapped[0][1])


def test_text_that_looks_like_a_special_token_is_scored_as_text(model, tmp_path):
    [(_, bits, _)] = grader.bits_per_byte(model, corpus(tmp_path / "held", "<|end|>"))
    assert bits > 7  # seven tokens, not one


def test_the_same_documents_are_picked_as_by_the_baselines(model, tmp_path):
    from tokenworks.line.evaluate.baselines.bytes import zstd_bits

    held = corpus(tmp_path / "held", "a" * 100, "", "b" * 100, "c" * 10)
    ours = grader.bits_per_byte(model, held, max_bytes=120)
    theirs = zstd_bits(held, held, max_bytes=120)
    assert [(path, size) for path, _, size in ours] == [(path, size) for path, _, size in theirs]


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_folder_is_named(model, tmp_path, missing):
    import shutil

    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    (broken / missing).unlink()
    with pytest.raises(DataError, match=missing):
        grader.bits_per_byte(broken, corpus(tmp_path / "held", "x"))


def test_a_model_without_a_start_token_is_refused(model, tmp_path):
    import shutil

    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    config = json.loads((broken / "config.json").read_bytes())
    (broken / "config.json").write_text(json.dumps(config | {"bos_token_id": None, "eos_token_id": None}))
    with pytest.raises(DataError, match="a document has no beginning"):
        grader.bits_per_byte(broken, corpus(tmp_path / "held", "x"))


def test_lower_is_better_and_documents_weigh_by_their_bytes():
    one = [Item(id="a", score=1.0, weight=900.0), Item(id="b", score=2.0, weight=100.0)]
    other = [Item(id="a", score=1.5, weight=900.0), Item(id="b", score=1.0, weight=100.0)]
    assert grader.figure(one).value == pytest.approx(1.1)
    assert grader.compare(one, other, alpha=0.05).difference == pytest.approx(0.35)
