"""A model of one empty layer with the vocabulary of a real one: the bench on which grammars are tried."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenworks.serving.conversion.llama import LlamaGraph
from tokenworks.serving.conversion.shape import Shape
from tokenworks.serving.conversion.weights import Array

HIDDEN = 8


def probe_model(vocabulary: int) -> Any:
    """Return the graph of the empty model, an `openvino.Model` with `vocabulary` logits."""
    shape = Shape(
        layers=1,
        hidden=HIDDEN,
        heads=1,
        kv_heads=1,
        head_size=HIDDEN,
        vocabulary=vocabulary,
        epsilon=1e-6,
        context_length=32,
        inverse_frequencies=(1.0,) * (HIDDEN // 2),
    )
    square = np.zeros((HIDDEN, HIDDEN), np.float32)
    names = [*(f"self_attn.{part}_proj" for part in "qkvo"), *(f"mlp.{part}_proj" for part in ("gate", "up", "down"))]
    weights: dict[str, Array] = {f"model.layers.0.{name}.weight": square for name in names}
    for norm in ("model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm"):
        weights[f"{norm}.weight"] = np.ones(HIDDEN, np.float32)
    weights["model.embed_tokens.weight"] = np.zeros((vocabulary, HIDDEN), np.float32)
    return LlamaGraph(shape, weights, "f32").build()
