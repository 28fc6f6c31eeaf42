from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tokenworks.core.errors import IntegrityError, RefusedError
from tokenworks.line.release import sign
from tokenworks.line.release.inspect import inspect_folder, verify_folder
from tokenworks.line.release.keys import SigningKey, ensure_signing_key


class _Calls:
    """Unpickling this calls a function: what an attack looks like, harmless here."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_complete_signed_folder_passes_and_every_tampering_is_refused(model_folder: Path, key: SigningKey):
    sign.sign_folder(model_folder, key, name="m")
    verify_folder(model_folder, key.public)
    data = bytearray((model_folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model_folder / "model.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"changed: model\.safetensors"):
        verify_folder(model_folder, key.public)


def test_a_change_that_restores_size_and_time_is_still_seen(model_folder: Path, key: SigningKey):
    import os

    sign.sign_folder(model_folder, key, name="m")
    verify_folder(model_folder, key.public)
    path = model_folder / "model.safetensors"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 255]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        verify_folder(model_folder, key.public)


def test_an_unsigned_folder_and_a_strangers_are_refused(model_folder: Path, key: SigningKey, tmp_path: Path):
    with pytest.raises(RefusedError, match="not signed"):
        verify_folder(model_folder, key.public)
    sign.sign_folder(model_folder, ensure_signing_key(tmp_path / "stranger"), name="m")
    with pytest.raises(RefusedError, match="trusted is"):
        verify_folder(model_folder, key.public)


def test_even_a_signed_pickle_is_refused(model_folder: Path, key: SigningKey):
    (model_folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Calls()))
    sign.sign_folder(model_folder, key, name="m")
    with pytest.raises(RefusedError, match=r"pytorch_model\.bin.*run code"):
        verify_folder(model_folder, key.public)


@pytest.mark.parametrize("name", ["weights.pt", "m.pkl", "x.joblib", "scaler.npz", "model.h5", "PYTORCH.BIN", "a.ckpt"])
def test_files_that_run_code_when_loaded_are_refused_by_name(model_folder: Path, name: str):
    (model_folder / name).write_bytes(b"anything")
    with pytest.raises(RefusedError, match=f"{name}.*convert it"):
        inspect_folder(model_folder)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_under_a_harmless_name_is_refused_by_content(model_folder: Path, protocol: int):
    (model_folder / "notes.txt").write_bytes(pickle.dumps({"a": _Calls()}, protocol))
    with pytest.raises(RefusedError, match=r"notes\.txt: the content is a pickle"):
        inspect_folder(model_folder)


def test_a_torch_zip_and_a_numpy_file_under_harmless_names_are_refused(model_folder: Path):
    with zipfile.ZipFile(model_folder / "LICENSE", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Calls()))
    with pytest.raises(RefusedError, match="LICENSE: the content is a pickle"):
        inspect_folder(model_folder)
    (model_folder / "LICENSE").unlink()
    stream = io.BytesIO()
    np.save(stream, np.array([_Calls()], dtype=object), allow_pickle=True)
    (model_folder / "vocab.txt").write_bytes(stream.getvalue())
    with pytest.raises(RefusedError, match=r"vocab\.txt"):
        inspect_folder(model_folder)


@pytest.mark.parametrize("name", ["modeling_custom.py", "run.sh", "libx.so"])
def test_program_code_in_a_model_folder_is_refused(model_folder: Path, name: str):
    (model_folder / name).write_text("print('hello')")
    with pytest.raises(RefusedError, match=f"{name}: program code"):
        inspect_folder(model_folder)


def test_a_config_that_asks_for_foreign_code_is_refused(model_folder: Path):
    (model_folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.X"}}))
    with pytest.raises(RefusedError, match="auto_map asks for the model's own code"):
        inspect_folder(model_folder)


def test_ordinary_text_files_are_not_taken_for_pickles(model_folder: Path):
    texts = {
        "LICENSE": "copyright notice\nall rights\nreserved.\n",
        "README.md": "cat\nsat\non the mat.\n",
        "vocab.txt": "[PAD]\nN\n.\n(\n",
        "merges.txt": "#version: 0.2\ni n\nt h\n",
        "chat_template.jinja": "{% for m in messages %}{{ m.content }}{% endfor %}",
    }
    for name, text in texts.items():
        (model_folder / name).write_text(text)
    inspect_folder(model_folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "config.json is missing"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", None),
        ("head.safetensors", "without head.safetensors"),
    ],
)
def test_a_missing_part_is_named_with_the_way_out(model_folder: Path, name: str, message: str | None):
    (model_folder / name).unlink()
    if message is None:  # the head is a safetensors file too: without it there are no weights at all
        (model_folder / "head.safetensors").unlink()
        message = "no weights"
    with pytest.raises(RefusedError, match=message):
        inspect_folder(model_folder)


def test_a_missing_shard_is_named(model_folder: Path):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    (model_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RefusedError, match=r"shard model-1\.safetensors of 2 is missing"):
        inspect_folder(model_folder)


def test_a_shard_outside_the_folder_is_refused(model_folder: Path):
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (model_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RefusedError, match="shard"):
        inspect_folder(model_folder)


def _safetensors(header: dict, data: bytes) -> bytes:
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        (struct.pack("<Q", 4) + b"nope" + b"\0" * 8, "damaged safetensors header"),
        (_safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 3), "cut off or padded"),
        (_safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 9), "cut off or padded"),
        (_safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8), "leave a gap"),
        (_safetensors({"w": {"dtype": "F32", "shape": [1]}}, b""), "damaged safetensors header"),
        (_safetensors({"w": 3}, b""), "damaged safetensors header"),
    ],
)
def test_a_safetensors_file_that_is_not_exactly_its_header_and_data_is_refused(
    model_folder: Path, content: bytes, message: str
):
    (model_folder / "model.safetensors").write_bytes(content)
    with pytest.raises(RefusedError, match=message):
        inspect_folder(model_folder)


def test_openvino_weights_are_raw_numbers_only_beside_their_graph(model_folder: Path):
    (model_folder / "openvino_model.xml").write_text("<net/>")
    (model_folder / "openvino_model.bin").write_bytes(b"\x80\x02 raw numbers")
    inspect_folder(model_folder)
    (model_folder / "openvino_model.xml").unlink()
    with pytest.raises(RefusedError, match=r"openvino_model\.bin"):
        inspect_folder(model_folder)


def test_a_link_a_broken_config_and_a_file_in_place_of_a_folder_are_named(model_folder: Path, tmp_path: Path):
    with pytest.raises(RefusedError, match="not a folder"):
        inspect_folder(model_folder / "config.json")
    (model_folder / "config.json").write_text("{")
    with pytest.raises(RefusedError, match=r"config\.json: not a JSON object"):
        inspect_folder(model_folder)
    (model_folder / "link").symlink_to(tmp_path)
    with pytest.raises(RefusedError, match="link: a symbolic link"):
        inspect_folder(model_folder)
