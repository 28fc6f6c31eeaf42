"""Refuse weights that are no numbers: a training that diverged, or a file that was damaged before it was signed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tokenworks.core.errors import RefusedError

_EXPONENT = {
    "F64": ("<u8", 0x7FF0 << 48),
    "F32": ("<u4", 0x7F80 << 16),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_CHUNK = 1 << 22  # numbers looked at at once


def require_finite(folder: Path) -> None:
    """Raise `RefusedError` naming the first tensor in `folder` that holds NaN or infinity.

    Reads the bits: a number whose exponent is all ones is none (IEEE 754, 3.4), whatever format numpy knows.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = msgspec.json.decode(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            wrong = _wrong(path, entry, 8 + length)
            if wrong:
                raise RefusedError(
                    f"{path}: tensor {name} holds {wrong} values that are no numbers; train again with a lower "
                    "learning rate"
                )


def _wrong(path: Path, entry: dict[str, Any], start: int) -> int:
    """Return how many values of the tensor are NaN or infinite; integers never are."""
    if entry["dtype"] not in _EXPONENT:
        return 0
    kind, ones = _EXPONENT[entry["dtype"]]
    begin, end = entry["data_offsets"]
    count = (end - begin) // np.dtype(kind).itemsize
    if not count:
        return 0
    bits = np.memmap(path, dtype=kind, mode="r", offset=start + begin, shape=(count,))
    mask = bits.dtype.type(ones)
    return sum(int(((bits[at : at + _CHUNK] & mask) == mask).sum()) for at in range(0, count, _CHUNK))
