"""What stages of the line work at, and what they learn and judge with: a causal model that trains within a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenworks.core.stage import Bench
from tokenworks.store.artifacts import open_artifacts

TEXTS = ("What is the sky? The sky is blue.", "What is grass? Grass is green.", "What is snow? Snow is white.")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Where a stage works: its own store, scratch and cache, one thread."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    artifacts = open_artifacts(str(tmp_path / "artifacts"), cache=tmp_path / "store-cache")
    return Bench(artifacts=artifacts, scratch=scratch, cache=tmp_path / "cache", threads=1)


@pytest.fixture(scope="session")
def tiny_causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama folder of two layers with random weights, a byte-level BPE tokenizer and no chat template."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=["<|end|>"], initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    config = transformers.LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
        attention_dropout=0.1,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-causal")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
