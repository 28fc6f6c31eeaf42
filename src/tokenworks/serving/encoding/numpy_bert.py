"""BERT in plain numpy: slower, and runs wherever numpy does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenworks.core.encoder_folder import BertConfig
from tokenworks.serving.encoding.weights import Floats

Ints = NDArray[np.int64]


class NumpyBert:
    """Token ids to unit sentence embeddings."""

    name = "numpy"

    def __init__(self, config: BertConfig, weights: dict[str, Floats]) -> None:
        self._config = config
        self._weights = weights

    def __call__(self, ids: Ints, lengths: Ints) -> Floats:
        """Return [batch, hidden] unit vectors for [batch, longest] ids of which each row has `lengths` real ones."""
        mask = (np.arange(ids.shape[1])[None, :] < lengths[:, None]).astype(np.float32)
        bias = ((mask - 1.0) * 1e4)[:, None, None, :]
        states = self._weights["embeddings.word_embeddings.weight"][ids]
        states = states + self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        states = self._norm("embeddings.LayerNorm", states)
        for layer in range(self._config.num_hidden_layers):
            states = self._layer(f"encoder.layer.{layer}.", states, bias)
        pooled = (states * mask[:, :, None]).sum(1) / lengths[:, None]
        unit: Floats = (pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)).astype(np.float32)
        return unit

    def _layer(self, at: str, states: Floats, bias: Floats) -> Floats:
        batch, length, size = states.shape
        heads = self._config.num_attention_heads
        query, key, value = (
            self._linear(f"{at}attention.self.{part}", states).reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) * np.float32((size // heads) ** -0.5) + bias
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        joined = (scores @ value).transpose(0, 2, 1, 3).reshape(batch, length, size)
        attended = self._linear(at + "attention.output.dense", joined)
        states = self._norm(at + "attention.output.LayerNorm", states + attended)
        inner = gelu(self._linear(at + "intermediate.dense", states))
        return self._norm(at + "output.LayerNorm", states + self._linear(at + "output.dense", inner))

    def _linear(self, name: str, states: Floats) -> Floats:
        flat = states.reshape(-1, states.shape[-1]) @ self._weights[name + ".weight"].T
        return (flat + self._weights[name + ".bias"]).reshape(*states.shape[:-1], -1)

    def _norm(self, name: str, states: Floats) -> Floats:
        centred = states - states.mean(-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(self._config.layer_norm_eps))
        scaled: Floats = centred / spread * self._weights[name + ".weight"] + self._weights[name + ".bias"]
        return scaled


def gelu(values: Floats) -> Floats:
    """Return x Phi(x), with erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    scaled = np.abs(values) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * scaled)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(values) * (1 - tail * np.exp(-scaled * scaled))
    result: Floats = (values * (1 + erf) / 2).astype(np.float32, copy=False)
    return result
