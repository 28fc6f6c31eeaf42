"""Weights that are no numbers, in every format that models come in."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tokenworks.core.errors import RefusedError
from tokenworks.line.release.finite import require_finite

KINDS = [np.float64, np.float32, np.float16]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_with_no_number_in_it_is_named(tmp_path, kind, value):
    weights = np.ones((40, 50), kind)
    weights[7, 3] = value
    save_file({"good": np.ones(3, kind), "layer.bad": weights}, tmp_path / "model.safetensors")
    with pytest.raises(RefusedError, match=r"layer\.bad holds 1 values"):
        require_finite(tmp_path)


def test_bfloat16_is_read_by_its_bits(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save

    save({"w": torch.tensor([1.0, 3e38, float("nan")], dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    with pytest.raises(RefusedError, match="w holds 1 values"):
        require_finite(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_and_smallest_numbers_pass(tmp_path, kind):
    info = np.finfo(kind)
    values = np.array([info.max, info.min, info.tiny, info.smallest_subnormal, 0], kind)
    save_file({"w": values, "ids": np.array([-1, 2**62]), "none": np.zeros((0, 4), kind)}, tmp_path / "m.safetensors")
    require_finite(tmp_path)


def test_the_test_models_pass(tiny_llama, tiny_bert):
    require_finite(tiny_llama)
    require_finite(tiny_bert)
