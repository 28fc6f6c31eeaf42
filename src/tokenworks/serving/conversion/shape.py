"""The numbers of a Llama-family model, read from `config.json`; what the graph cannot express is refused here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenworks.core.errors import EngineError

ARCHITECTURES = frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a decoder: `heads` query heads share `kv_heads` keys and values of `head_size` each."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    epsilon: float
    context_length: int
    inverse_frequencies: tuple[float, ...]


def reason_against(config: Mapping[str, Any]) -> str:
    """Return why this configuration has no graph here, empty when it has."""
    names = config.get("architectures") or []
    if not ARCHITECTURES.intersection(names):
        return f"architecture {names} is not one of {sorted(ARCHITECTURES)}"
    if config.get("hidden_act", "silu") != "silu":
        return f"hidden_act {config['hidden_act']!r} is not 'silu'"
    window = config.get("sliding_window")
    windowed = config.get("use_sliding_window", "MistralForCausalLM" in names)
    if window and windowed and window < config.get("max_position_embeddings", 2048):
        return f"sliding_window {window} is shorter than the context"
    kind = _rope(config).get("rope_type", "default")
    if kind not in {"default", "linear", "llama3"}:
        return f"rope_type {kind!r} is not one of default, linear, llama3"
    return ""


def read_shape(config: Mapping[str, Any]) -> Shape:
    """Return the sizes that `config` states; raise `EngineError` where the graph cannot be built."""
    reason = reason_against(config)
    if reason:
        raise EngineError(f"config.json: {reason}; serve this model with the engine 'transformers'")
    heads = int(config["num_attention_heads"])
    head_size = int(config.get("head_dim") or config["hidden_size"] // heads)
    frequencies = _inverse_frequencies(_rope(config), head_size)
    return Shape(
        layers=int(config["num_hidden_layers"]),
        hidden=int(config["hidden_size"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_size=head_size,
        vocabulary=int(config["vocab_size"]),
        epsilon=float(config.get("rms_norm_eps", 1e-6)),
        context_length=int(config.get("max_position_embeddings", 2048)),
        inverse_frequencies=tuple(float(value) for value in frequencies),
    )


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rotary settings: transformers 5 writes `rope_parameters`, 4 `rope_theta` and `rope_scaling`."""
    rope = {"rope_theta": config.get("rope_theta", 10000.0)}
    rope.update(config.get("rope_scaling") or {})
    rope.update(config.get("rope_parameters") or {})
    if "type" in rope and "rope_type" not in rope:
        rope["rope_type"] = rope["type"]
    return rope


def _inverse_frequencies(rope: Mapping[str, Any], head_size: int) -> NDArray[np.float32]:
    """Return one angular step per pair of dimensions (Su 2021, eq. 15), scaled as `rope_type` says."""
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / head_size
    steps = np.float32(1.0) / np.power(np.float32(rope["rope_theta"]), exponents)
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        return np.asarray(steps / rope["factor"], np.float32)
    if kind == "default":
        return np.asarray(steps, np.float32)
    # Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended.
    old, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    waves = 2 * math.pi / steps
    blend = (old / waves - low) / (high - low)
    blended = (1 - blend) * steps / rope["factor"] + blend * steps
    scaled = np.where(waves > old / low, steps / rope["factor"], np.where(waves < old / high, steps, blended))
    return np.asarray(scaled, np.float32)
