"""The transformers engine in process, on a tiny Llama: what the contract of all engines does not ask."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tokenworks.core.errors import EngineError
from tokenworks.serving.engine import EngineDied, Options, Sampling
from tokenworks.serving.engines import transformers


async def test_a_token_that_is_no_number_ends_the_answer_with_an_error_and_not_the_engine(tiny_llama: Path, tmp_path):
    pytest.importorskip("torch")
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    engine = transformers.load(folder, Options(threads=1))
    for temperature in (0.0, 1.0):
        with pytest.raises(EngineError, match="not a number") as failed:
            _ = [piece async for piece in engine.generate("how", Sampling(temperature=temperature, max_tokens=4))]
        assert not isinstance(failed.value, EngineDied)
    await engine.close()
