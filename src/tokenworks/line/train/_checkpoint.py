"""Tensors of a training in progress: one file, replaced in one step, checked when read back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from tokenworks.core.files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

_DIGEST_BYTES = 32


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace `path` with `tensors`, a SHA-256 in front, so that half a file is never taken for a whole one."""
    from safetensors.torch import save

    data = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    write_atomic(path, hashlib.sha256(data).digest() + data)


def load_tensors(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of `path`, or None where there is no whole file: the work is then done again."""
    from safetensors.torch import load

    if not path.is_file():
        return None
    data = path.read_bytes()
    if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        return None
    return dict(load(data[_DIGEST_BYTES:]))
