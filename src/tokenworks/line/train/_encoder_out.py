"""Write a trained encoder as a model folder that stands alone, beside what the base brought along."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tokenworks.core.encoder_folder import CARD, HEAD, WEIGHTS, Card

if TYPE_CHECKING:
    from torch import Tensor

# Tokenizer and config, and the files with which sentence-transformers opens the folder as well.
COPIED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)


def write_folder(
    folder: Path,
    base: Path,
    card: Card,
    *,
    weights: Mapping[str, Tensor] | None = None,
    head: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Replace `folder` by the model: `weights` over those of `base` (None: the base's own), and a classifier's head."""
    from safetensors.torch import load_file, save_file

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        if (base / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(base / name, folder / name)
    if weights is None:
        shutil.copyfile(base / WEIGHTS, folder / WEIGHTS)
    else:
        stored = load_file(base / WEIGHTS)
        prefix = "bert." if any(name.startswith("bert.") for name in stored) else ""
        stored |= {prefix + name: tensor.to(stored[prefix + name].dtype) for name, tensor in weights.items()}
        save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
    if head is not None:
        save_file({"weight": head[0].contiguous(), "bias": head[1].contiguous()}, folder / HEAD)
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")


def write_classifier(
    folder: Path,
    base: Path,
    base_name: str,
    classes: list[str],
    rows: int,
    *,
    weights: Mapping[str, Tensor] | None,
    head: tuple[Tensor, Tensor],
) -> None:
    """Replace `folder` by a classifier: `weights` None means the head alone was trained."""
    trained = "its head" if weights is None else "all its layers"
    description = (
        f"A sentence encoder ({base_name}) with a linear head: sorts a text into one of {len(classes)} classes;"
        f" {trained} learnt from {rows} examples. It answers with one of its classes whatever the text is."
    )
    card = Card(kind="classify", classes=classes, base=base_name, description=description)
    write_folder(folder, base, card, weights=weights, head=head)
