"""Converted models on disk: found again, shared by processes, whole after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tokenworks.core.errors import EngineError
from tokenworks.serving.conversion.cache import conversion_key, convert, converted
from tokenworks.serving.folder import open_folder
from tokenworks.serving.tokens import Tokens

pytest.importorskip("openvino_genai")
FILES = {
    "openvino_model.xml",
    "openvino_model.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
    "config.json",
    "probe",
}
CONVERT = """
import sys; from pathlib import Path
from tokenworks.serving.conversion.cache import converted
from tokenworks.serving.folder import open_folder
from tokenworks.serving.tokens import Tokens
folder = open_folder(Path(sys.argv[1])); print("go", flush=True)
with converted(folder, Tokens(folder.path), "f32", sys.argv[2]) as made: print(made)
"""


def start(folder: Path, cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CONVERT, str(folder), str(cache)], stdout=subprocess.PIPE)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_conversion_is_made_once(tiny_llama: Path, tmp_path: Path) -> None:
    folder, tokens = open_folder(tiny_llama), Tokens(tiny_llama)
    with converted(folder, tokens, "f32", str(tmp_path)) as first:
        made = (first / "openvino_model.xml").stat().st_mtime_ns
    with converted(folder, tokens, "f32", str(tmp_path)) as second:
        assert (second, names(second)) == (first, FILES)
        assert (second / "openvino_model.xml").stat().st_mtime_ns == made


def test_without_a_cache_nothing_is_left(tiny_llama: Path) -> None:
    with converted(open_folder(tiny_llama), Tokens(tiny_llama), "f32", "") as folder:
        assert names(folder) == FILES
    assert not folder.exists()


def test_other_weights_or_precision_have_another_key(tiny_llama: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_llama, tmp_path / "other")
    assert conversion_key(other, "f32") == conversion_key(tiny_llama, "f32") != conversion_key(other, "bf16")
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    assert conversion_key(other, "f32") != conversion_key(tiny_llama, "f32")


def test_processes_at_once_share_one_conversion(tiny_llama: Path, tmp_path: Path) -> None:
    running = [start(tiny_llama, tmp_path) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].split()[-1] for process in running]
    assert len(set(said)) == 1
    assert names(Path(said[0].decode())) == FILES


@pytest.mark.parametrize("delay_s", [0.05, 0.3, 0.45])
def test_a_killed_conversion_is_made_anew_and_whole(delay_s: float, tiny_llama: Path, tmp_path: Path) -> None:
    victim = start(tiny_llama, tmp_path)
    assert victim.stdout is not None
    victim.stdout.readline()
    time.sleep(delay_s)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    with converted(open_folder(tiny_llama), Tokens(tiny_llama), "f32", str(tmp_path)) as folder:
        assert names(folder) == FILES
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".draft")]


def test_weights_of_another_model_are_refused(tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    save_file({"something.weight": np.zeros((2, 2), np.float32)}, folder / "model.safetensors")
    with pytest.raises(EngineError, match=r"model.embed_tokens.weight"):
        convert(open_folder(folder), Tokens(folder), "f32", tmp_path)


def test_an_integer_dtype_and_a_cut_file_are_refused(tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(EngineError, match="cut short"):
        convert(open_folder(folder), Tokens(folder), "f32", tmp_path)
    save_file({"model.embed_tokens.weight": np.zeros((2, 2), np.int32)}, weights)
    with pytest.raises(EngineError, match="is I32"):
        convert(open_folder(folder), Tokens(folder), "f32", tmp_path)
