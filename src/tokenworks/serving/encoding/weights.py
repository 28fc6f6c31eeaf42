"""Safetensors to float32 numpy arrays, bfloat16 included, without torch."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenworks.core.encoder_folder import WEIGHTS, BertConfig
from tokenworks.core.errors import DataError

Floats = NDArray[np.float32]
_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "BF16": "<u2"}
_PARTS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_floats(path: Path) -> dict[str, Floats]:
    """Return the tensors of a safetensors file as float32; raise `DataError` when the file is cut or damaged."""
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    try:
        (size,) = struct.unpack("<Q", data[:8].tobytes())
        header = msgspec.json.decode(data[8 : 8 + size].tobytes())
        header.pop("__metadata__", None)
        entries = msgspec.convert(header, dict[str, _Entry])
        return {name: _array(data[8 + size :], entry) for name, entry in entries.items() if entry.dtype in _TYPES}
    except (struct.error, msgspec.DecodeError, msgspec.ValidationError, AttributeError, ValueError) as error:
        raise DataError(f"{path} is no whole safetensors file ({error}); fetch or train the model again") from error


def _array(data: NDArray[np.uint8], entry: _Entry) -> Floats:
    begin, end = entry.data_offsets
    raw = data[begin:end].view(_TYPES[entry.dtype]).reshape(entry.shape)
    if entry.dtype == "BF16":  # the upper half of a float32
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32)


def read_bert(folder: Path, config: BertConfig) -> dict[str, Floats]:
    """Return the weights that a forward needs; raise `DataError` naming the first missing or misshapen one."""
    stored = {name.removeprefix("bert."): value for name, value in read_floats(folder / WEIGHTS).items()}
    size, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, size),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, size),
        "embeddings.LayerNorm.weight": (size,),
        "embeddings.LayerNorm.bias": (size,),
    }
    for layer in range(config.num_hidden_layers):
        at = f"encoder.layer.{layer}."
        for part in _PARTS:
            shapes |= {f"{at}{part}.weight": (size, size), f"{at}{part}.bias": (size,)}
        shapes |= {f"{at}intermediate.dense.weight": (inner, size), f"{at}intermediate.dense.bias": (inner,)}
        shapes |= {f"{at}output.dense.weight": (size, inner), f"{at}output.dense.bias": (size,)}
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{norm}.weight": (size,), f"{at}{norm}.bias": (size,)}
    for name, shape in shapes.items():
        found = stored[name].shape if name in stored else "missing"
        if found != shape:
            raise DataError(f"{folder / WEIGHTS}: tensor {name} is {found}, config.json says {shape}")
    types = stored["embeddings.token_type_embeddings.weight"]
    stored["embeddings.position_embeddings.weight"] = stored["embeddings.position_embeddings.weight"] + types[0]
    return {name: stored[name] for name in shapes}
