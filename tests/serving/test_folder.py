"""What a model folder must have, and how what is wrong is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.serving.choose import choose_engine, choose_for
from tokenworks.serving.folder import open_folder


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def test_a_good_folder_states_its_facts(folder: Path) -> None:
    model = open_folder(folder)
    assert (model.context_length, model.stop_ids) == (256, (0,))
    assert "assistant" in model.chat_template


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "x.pkl", "model.ckpt"])
def test_a_pickle_is_refused_even_beside_good_weights(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"\x80\x04")
    with pytest.raises(EngineError, match=f"{name} is a pickle.*safetensors"):
        open_folder(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(EngineError, match=name):
        open_folder(folder)


def test_a_config_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(EngineError, match=r"config.json is not readable JSON"):
        open_folder(folder)


def test_a_template_file_and_generation_settings_win(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    model = open_folder(folder)
    assert (model.chat_template, model.stop_ids) == ("{{ messages }}", (0, 1))


def test_named_templates_give_the_default_one(folder: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert open_folder(folder).chat_template == "d"


def test_the_engine_is_chosen_by_what_the_folder_is(folder: Path, tiny_bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    pytest.importorskip("torch")
    assert choose_engine(folder) == "openvino"
    assert choose_engine(tiny_bert) == "encoder"
    assert choose_engine(folder, "transformers") == choose_for(folder, "transformers") == "transformers"
    assert choose_for(tiny_bert, "transformers") == "encoder"
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["GPTNeoXForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert choose_engine(folder) == "transformers"
    with pytest.raises(ConfigError, match="openvino"):
        choose_engine(folder, "openvin")
    with pytest.raises(EngineError, match="no engine serves"):
        choose_engine(tmp_path)
