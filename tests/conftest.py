"""What every room's tests may ask for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data packs, unpacked; a test that asks for them is skipped where they are not at hand."""
    folder = Path(os.environ.get("TOKENWORKS_DATA") or Path(tempfile.gettempdir()) / "tokenworks-data")
    if folder.is_dir():
        return folder
    unpack = Path(__file__).parents[2] / "shared" / "data" / "unpack"
    if not unpack.exists():
        pytest.skip(f"no real data: neither {folder} nor {unpack} exists; set TOKENWORKS_DATA")
    done = subprocess.run([sys.executable, str(unpack)], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random BERT of 2 layers that trains and answers in milliseconds."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("tiny-bert")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["the", "a", "is", "card", "lost", "money", "bank", "sent", "transfer", "help", "please", "account"]
    words += ["what", "of", "to", "password", "late", "fee", "app"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    size, inner, layers = 32, 64, 2
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": len(vocab),
        "hidden_size": size,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": inner,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_bytes(msgspec.json.encode(config))
    rng = np.random.default_rng(0)
    shapes = {"word": len(vocab), "position": 64, "token_type": 2}
    weights = {f"embeddings.{kind}_embeddings.weight": (rows, size) for kind, rows in shapes.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            weights[f"{at}attention.self.{part}.weight"] = (size, size)
        weights[f"{at}attention.output.dense.weight"] = (size, size)
        weights[f"{at}intermediate.dense.weight"] = (inner, size)
        weights[f"{at}output.dense.weight"] = (size, inner)
        norms += [f"{at}attention.output.LayerNorm", f"{at}output.LayerNorm"]
    tensors = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in weights.items()}
    for name, shape in weights.items():
        if name.startswith("encoder."):
            tensors[name.replace("weight", "bias")] = rng.normal(0, 0.1, shape[:1]).astype(np.float32)
    for name in norms:
        tensors[f"{name}.weight"] = np.ones(size, np.float32)
        tensors[f"{name}.bias"] = np.zeros(size, np.float32)
    save_file(tensors, folder / "model.safetensors")
    return folder
