"""Read tensors of a safetensors folder without copying and without torch; bfloat16 stays as its bits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenworks.core.errors import EngineError

Array = NDArray[Any]
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def read_weights(folder: Path) -> dict[str, Array]:
    """Return every tensor of the folder by name, memory-mapped. Raises `EngineError` on a dtype that is not a float."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    tensors: dict[str, Array] = {}
    for name in files:
        tensors.update(_read_file(folder / name))
    return tensors


def _read_file(path: Path) -> dict[str, Array]:
    """Parse the layout of safetensors: 8 bytes of header length, a JSON header, then the bytes of the tensors."""
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        length = int(data[:8].view(np.uint64)[0])
        header: Mapping[str, Any] = json.loads(bytes(data[8 : 8 + length]))
    except (OSError, ValueError, IndexError) as error:
        raise EngineError(f"{path} cannot be read as safetensors ({error}); fetch or train the model again") from error
    tensors: dict[str, Array] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise EngineError(f"{path}: tensor {name} is {entry['dtype']}; save the model as F32, F16 or BF16")
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        if end > data.size:
            raise EngineError(f"{path} is cut short: tensor {name} ends at byte {end} of {data.size}; copy it again")
        tensors[name] = data[start:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def to_float32(array: Array) -> NDArray[np.float32]:
    """Return the values as float32; uint16 is taken as the bits of bfloat16."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def to_bfloat16_bits(array: Array) -> NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16 values, ties to even."""
    if array.dtype == np.uint16:
        return np.asarray(array)
    bits = np.ascontiguousarray(to_float32(array)).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_int8(array: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return symmetric 8-bit values with one scale for each row: values * scale is the nearest to `array`."""
    values = to_float32(array)
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / 127.0
    return np.rint(values / scale).astype(np.int8), scale.astype(np.float32)
