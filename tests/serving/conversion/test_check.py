"""The round trip before a release."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tokenworks.serving.conversion.check import verify_roundtrip
from tokenworks.serving.engine import Options

pytest.importorskip("torch", reason="compares with transformers")
pytest.importorskip("openvino_genai", reason="compares OpenVINO")


def test_a_faithful_conversion_passes(tiny_llama: Path) -> None:
    found = verify_roundtrip(tiny_llama, Options(precision="f32"))
    assert (found.engine, found.same_tokens, found.same_template) == ("openvino", True, True)
    assert found.greedy_agreement == 1.0
    assert found.ok


def test_a_tokenizer_of_another_model_is_found_out(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    state = json.loads((folder / "tokenizer_config.json").read_text())
    state["add_prefix_space"] = True  # transformers rebuilds the tokenizer with it, tokenizer.json says otherwise
    state["tokenizer_class"] = "GPT2TokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(state))
    found = verify_roundtrip(folder, Options(precision="f32"), ["hello there", "the for statement"])
    assert found.same_tokens is False
    assert not found.ok
    assert any("hello there" in remark for remark in found.remarks)
