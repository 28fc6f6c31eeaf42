"""A model's shape from its own `config.json`, in the words that the common families use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.planning.architecture import Architecture

NEEDED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")


def read_config(path: Path) -> Architecture:
    """Return the shape in `path` (a file or its folder); raise `ConfigError` naming what it lacks."""
    path = path / "config.json" if path.is_dir() else path
    try:
        config: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except OSError:
        raise ConfigError(f"{path}: there is no such config.json") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    config = config.get("text_config", config)
    if missing := [name for name in NEEDED if not config.get(name)]:
        raise ConfigError(f"{path}: no {', '.join(missing)}; write the shape as a [models.NAME] table instead")
    if config.get("layer_types") and any("linear" in kind for kind in config["layer_types"]):
        raise ConfigError(f"{path}: layers with a fixed state are not read from here; write a [models.NAME] table")
    return architecture(config)


def architecture(config: dict[str, Any]) -> Architecture:
    """Return the shape that a decoded `config.json` describes."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    latent = config.get("kv_lora_rank") or 0
    head = config.get("qk_nope_head_dim", 0) + config.get("qk_rope_head_dim", 0) if latent else 0
    experts = config.get("n_routed_experts") or config.get("num_local_experts") or config.get("num_experts") or 0
    sliding = [kind for kind in config.get("layer_types") or () if kind == "sliding_attention"]
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        heads=heads,
        head_size=head or config.get("head_dim") or hidden // heads,
        kv_heads=0 if latent else config.get("num_key_value_heads") or heads,
        latent=latent + config.get("qk_rope_head_dim", 0) if latent else 0,
        query_rank=config.get("q_lora_rank") or 0,
        value_size=config.get("v_head_dim", 0) if latent else 0,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings")),
        ffn=0 if experts and not config.get("first_k_dense_replace") else config.get("intermediate_size", 0),
        dense_layers=config.get("first_k_dense_replace", 0) if experts else 0,
        experts=experts,
        active_experts=(config.get("num_experts_per_tok") or 0) if experts else 0,
        shared_experts=(config.get("n_shared_experts") or 0) if experts else 0,
        expert_ffn=(config.get("moe_intermediate_size") or config.get("intermediate_size") or 0) if experts else 0,
        window=config.get("sliding_window") or 0 if sliding else 0,
        window_layers=len(sliding) if config.get("sliding_window") else 0,
        sparse_tokens=config.get("index_topk") or 0,
    )
