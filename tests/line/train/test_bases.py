"""Bases: by name with a pinned hash, by path with a checked folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tokenworks.core.errors import DataError, IntegrityError
from tokenworks.line.train.bases import PINNED, resolve_base, verify


def test_minilm_is_found_and_is_the_published_one(tmp_path):
    folder = resolve_base("minilm", tmp_path)
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}


def test_a_changed_byte_in_the_packaged_weights_is_refused(tmp_path):
    source = resolve_base("minilm", tmp_path)
    for name in PINNED:
        shutil.copy(source / name, tmp_path / name)
    verify(tmp_path, PINNED)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"!")
    with pytest.raises(IntegrityError, match=r"model\.safetensors: sha256 is .* reinstall"):
        verify(tmp_path, PINNED)


def test_a_folder_is_taken_relative_to_the_task_file(tiny_bert, tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copytree(tiny_bert, tmp_path / "models" / "mine")
    assert resolve_base("models/mine", tmp_path) == (tmp_path / "models" / "mine").resolve()
    assert resolve_base(str(tiny_bert), Path("/nowhere")) == tiny_bert.resolve()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin.*can run code"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'), "encoder"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: shutil.rmtree(folder), "is no folder"),
    ],
)
def test_an_unusable_folder_is_refused_with_the_reason(change, complaint, tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "mine")
    change(tmp_path / "mine")
    with pytest.raises(DataError, match=complaint):
        resolve_base("mine", tmp_path)
