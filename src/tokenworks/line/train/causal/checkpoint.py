"""Checkpoints that survive a kill between any two lines: written beside the old one, found again by their hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tokenworks.core.files import write_atomic

KEPT = 2  # the newest, and one to fall back on


class Progressed(msgspec.Struct, kw_only=True):
    """How far a run is, and what its log says so far."""

    step: int = 0
    losses: list[tuple[int, float]] = []
    held_out: list[tuple[int, float]] = []
    best_step: int = 0
    best_loss: float | None = None
    worse: int = 0  # held-out checks in a row that were no improvement
    seconds: float = 0.0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What the small file beside the tensors says."""

    sha256: str
    progressed: Progressed


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], progressed: Progressed) -> None:
    """Write tensors, then the file that names their hash, then drop what is older than the one before."""
    data = save({name: value.contiguous() for name, value in tensors.items()})
    name = f"step-{progressed.step:09d}"
    write_atomic(folder / f"{name}.safetensors", data)
    note = Checkpoint(sha256=hashlib.sha256(data).hexdigest(), progressed=progressed)
    write_atomic(folder / f"{name}.json", msgspec.json.encode(note))
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> tuple[dict[str, Tensor], Progressed, list[str]] | None:
    """Return the newest checkpoint whose bytes are the recorded ones, and a remark for each that was passed over.

    Returns None when there is none at all; with remarks and no usable checkpoint, step 0 and no tensors.
    """
    remarks: list[str] = []
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            note = msgspec.json.decode(path.read_bytes(), type=Checkpoint)
            data = path.with_suffix(".safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() != note.sha256:
                raise ValueError("its bytes are not those that were written")
            return load(data), note.progressed, remarks
        except (OSError, ValueError, msgspec.DecodeError, SafetensorError) as error:
            remarks.append(f"checkpoint {path.stem} is damaged ({error}); going on from the one before")
    return ({}, Progressed(), remarks) if remarks else None


def fresh_copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that later steps will not change."""
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
