"""An encoder's folder on disk: what must lie in it, and what its config says. Training writes it, serving reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tokenworks.core.errors import DataError

WEIGHTS = "model.safetensors"
HEAD = "head.safetensors"  # weight [classes, dim] and bias [classes] over the unit-length sentence embedding
CARD = "tokenworks.json"
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"})
_FORMAT = "convert it to safetensors with the library that wrote it"


class BertConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a Hugging Face config.json that a BERT forward needs."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    position_embedding_type: str = "absolute"
    pad_token_id: int = 0


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`tokenworks.json`: what a model folder is, in the factory's own words."""

    kind: str
    classes: list[str] = []
    base: str = ""
    description: str = ""


def check_folder(folder: Path) -> BertConfig:
    """Return the config of the encoder at `folder`; raise `DataError` naming what is missing or not allowed."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give one with config.json, tokenizer.json and {WEIGHTS}")
    pickles = sorted(path.name for path in folder.rglob("*") if path.suffix in PICKLES)
    if pickles:
        raise DataError(f"{folder} holds {pickles[0]}, a format that can run code when loaded; {_FORMAT} and remove it")
    for name, way_out in {
        "config.json": "it is no Hugging Face model folder",
        WEIGHTS: _FORMAT,
        "tokenizer.json": "save the model's fast tokenizer into it",
    }.items():
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}; {way_out}")
    return read_config(folder)


def read_config(folder: Path) -> BertConfig:
    """Return the config of the encoder at `folder`; raise `DataError` when it is not of the BERT family."""
    path = folder / "config.json"
    try:
        config = msgspec.json.decode(path.read_bytes(), type=BertConfig)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(
            f'{path}: {error}; an encoder of the BERT family is needed, for example base = "minilm"'
        ) from error
    if (config.model_type, config.position_embedding_type) != ("bert", "absolute"):
        kind = f"{config.model_type!r} with {config.position_embedding_type} positions"
        raise DataError(
            f"{path}: model type {kind} cannot be run as an encoder; use one of type 'bert', such as minilm"
        )
    if config.hidden_act != "gelu":
        raise DataError(f"{path}: activation {config.hidden_act!r} is not supported; only 'gelu' is")
    return config


def read_card(folder: Path) -> Card | None:
    """Return the card of the folder, or None where there is none."""
    path = folder / CARD
    return msgspec.json.decode(path.read_bytes(), type=Card) if path.is_file() else None
