from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tokenworks.line.release.keys import SigningKey, ensure_signing_key


def write_model(folder: Path, *, kind: str = "classify", seed: int = 0) -> Path:
    """A model folder in the Hugging Face layout, a few kilobytes, with numbers from `seed`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "hidden_size": 8}))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "WordPiece"}}))
    (folder / "tokenworks.json").write_text(
        json.dumps({"kind": kind, "classes": ["billing", "shipping"], "base": "minilm", "description": "Routes mail."})
    )
    save_file({"w": rng.normal(size=(8, 8)).astype(np.float32)}, folder / "model.safetensors")
    if kind == "classify":
        save_file({"weight": rng.normal(size=(2, 8)).astype(np.float32)}, folder / "head.safetensors")
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return ensure_signing_key(tmp_path / "home")
