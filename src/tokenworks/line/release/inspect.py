"""Refuse a model folder that could run code on load, is incomplete, or is not the one that was signed."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import RefusedError
from tokenworks.line.release import sign
from tokenworks.line.release.keys import PublicKey

PICKLES = frozenset(
    [
        ".pkl",
        ".pickle",
        ".pt",
        ".pth",
        ".ckpt",
        ".bin",
        ".joblib",
        ".dill",
        ".npy",
        ".npz",
        ".h5",
        ".hdf5",
        ".keras",
        ".pb",
        ".mar",
        ".nemo",
        ".msgpack",
        ".pyc",
        ".pyo",
    ]
)
PROGRAMS = frozenset([".py", ".so", ".dll", ".dylib", ".sh", ".exe", ".pyd", ".ipynb"])
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json")
_CALLS = frozenset(
    ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1", "EXT2", "EXT4"]
)
_SNIFF = 1 << 20  # bytes of a file in which a pickle of protocol 0 must show itself
_CONVERT = "convert it: model.save_pretrained(folder, safe_serialization=True)"


def verify_folder(folder: Path, public_key: PublicKey) -> None:
    """Raise unless `folder` is a complete model of harmless files, byte for byte as signed by `public_key`.

    Called at each load; reads every byte (about 1.5 GB/s a thread). There is no cache by size and time of change:
    whoever can change the weights can set those back, so a remembered "yes" would prove nothing (decision 0082).
    """
    signed = sign.read_signature(folder, public_key)
    sign.compare(folder, signed)
    inspect_folder(folder)


def inspect_folder(folder: Path) -> None:
    """Raise `RefusedError` naming the file that can run code, or the part that a model folder lacks."""
    if not folder.is_dir():
        raise RefusedError(f"{folder}: not a folder; a model is a Hugging Face folder with config.json")
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise RefusedError(f"{path}: a symbolic link; a model folder holds plain files: copy the target here")
        if path.is_file():
            _inspect_file(path)
    _require_parts(folder)


def _inspect_file(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in PROGRAMS:
        raise RefusedError(f"{path}: program code; a model folder holds data only: remove the file")
    if suffix in PICKLES and not _is_openvino_weights(path):
        raise RefusedError(f"{path}: files of type {suffix} can run code when loaded; {_CONVERT}")
    if suffix == ".safetensors":
        _check_safetensors(path)
    elif suffix not in PICKLES and _is_pickle(path):
        raise RefusedError(f"{path}: the content is a pickle whatever the name says; {_CONVERT}")


def _is_openvino_weights(path: Path) -> bool:
    """Return whether a `.bin` belongs to a converted model: raw numbers beside the graph of the same name."""
    return path.suffix == ".bin" and path.with_suffix(".xml").is_file()


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_SNIFF)
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return True
    if head[:6] == b"\x93NUMPY" or head[:8] == b"\x89HDF\r\n\x1a\n":
        return True
    # PyTorch's own format is a zip around a pickle; a zip can also hide behind a harmless beginning.
    return zipfile.is_zipfile(path) or _calls_something(head)


def _calls_something(head: bytes) -> bool:
    """Return whether `head` reads to its end as a pickle that names a callable (protocols 0 and 1 have no magic)."""
    try:
        return not _CALLS.isdisjoint([op.name for op, _, _ in pickletools.genops(head)])
    except Exception:  # noqa: BLE001 - the parser of a hostile file may raise anything; then it is no pickle
        return False


def _check_safetensors(path: Path) -> None:
    """Raise unless header and data fill the file exactly: nothing can be appended to it or hidden behind it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, 100 << 20):
            raise RefusedError(f"{path}: not a safetensors file (header of {length} bytes in {size}); fetch it again")
        try:
            header: dict[str, Any] = msgspec.json.decode(file.read(length))
            header.pop("__metadata__", None)
            spans = sorted((*entry["data_offsets"],) for entry in header.values())
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            raise RefusedError(f"{path}: damaged safetensors header ({error}); fetch the file again") from None
    end = 0
    for start, stop in spans:
        if start != end or stop < start:
            raise RefusedError(f"{path}: tensors overlap or leave a gap at byte {end}; fetch the file again")
        end = stop
    if end != size - 8 - length:
        raise RefusedError(f"{path}: cut off or padded: {size - 8 - length} bytes of data, header says {end}")


def _require_parts(folder: Path) -> None:
    config = _json(folder / "config.json", "config.json: the model's shape")
    if "auto_map" in config:
        raise RefusedError(f"{folder}/config.json: auto_map asks for the model's own code; use a standard architecture")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise RefusedError(f"{folder}: no tokenizer (tokenizer.json); copy the one the weights were trained with")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        _require_shards(folder, _json(index, "the list of shards"))
    elif not any(folder.glob("*.safetensors")) and not any(folder.glob("*.xml")):
        raise RefusedError(f"{folder}: no weights (model.safetensors); copy them here, or {_CONVERT}")
    _require_kind(folder)


def _require_shards(folder: Path, index: dict[str, Any]) -> None:
    shards = sorted({str(name) for name in index.get("weight_map", {}).values()})
    for name in shards:
        if "/" in name or not (folder / name).is_file():
            raise RefusedError(f"{folder}: shard {name} of {len(shards)} is missing; copy it here")


def _require_kind(folder: Path) -> None:
    path = folder / "tokenworks.json"
    if not path.exists():
        return
    if _json(path, "what the model is for").get("kind") == "classify" and not (folder / "head.safetensors").is_file():
        raise RefusedError(f"{folder}: a classify model without head.safetensors; train it again")


def _json(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        raise RefusedError(f"{path.parent}: {path.name} is missing ({what}); copy it from where the model came from")
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RefusedError(f"{path}: not a JSON object ({error}); fetch the file again") from None
