"""What a model folder must have before anything is loaded from it, and the facts it states about itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import EngineError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


class ModelFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A checked Hugging Face folder: safetensors, `config.json`, and a `tokenizer.json`."""

    path: Path
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    chat_template: str  # empty: the model does not chat
    stop_ids: tuple[int, ...]  # tokens that end an answer
    context_length: int


def open_folder(path: Path) -> ModelFolder:
    """Return the facts of a model folder; raise `EngineError` naming the file that is wrong and the way out."""
    if not path.is_dir():
        raise EngineError(f"{path} is not a folder; name a Hugging Face model folder")
    for file in sorted(path.iterdir()):
        if file.suffix in PICKLES:
            raise EngineError(
                f"{file} is a pickle, which runs code when loaded; save the weights as safetensors and remove it"
            )
    config = read_json(path / "config.json")
    if not any((path / name).exists() for name in WEIGHTS):
        raise EngineError(f"{path} has no {WEIGHTS[0]}; save the weights as safetensors")
    if not (path / "tokenizer.json").exists():
        raise EngineError(f"{path} has no tokenizer.json; save the tokenizer of the model into the folder")
    tokenizer_config = _optional_json(path / "tokenizer_config.json")
    return ModelFolder(
        path=path,
        config=config,
        tokenizer_config=tokenizer_config,
        chat_template=_chat_template(path, tokenizer_config),
        stop_ids=_stop_ids(config, _optional_json(path / "generation_config.json")),
        context_length=int(config.get("max_position_embeddings", 2048)),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`; raise `EngineError` where it is missing or not one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        raise EngineError(f"{path.parent} has no {path.name}; it is not a complete Hugging Face model folder") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise EngineError(f"{path} is not readable JSON ({error}); write it again") from error


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _chat_template(path: Path, tokenizer_config: Mapping[str, Any]) -> str:
    """Return the template: transformers 5 writes a file of its own, older versions an entry or a list of named ones."""
    file = path / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    template = tokenizer_config.get("chat_template") or ""
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        return str(named.get("default", ""))
    return str(template)


def _stop_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    stated = generation.get("eos_token_id", config.get("eos_token_id"))
    if stated is None:
        return ()
    return tuple(stated) if isinstance(stated, list) else (int(stated),)
