"""BERT as an OpenVINO graph, built from the safetensors with OpenVINO's own operations: no torch, no conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenworks.core.encoder_folder import BertConfig
from tokenworks.core.errors import MissingExtraError
from tokenworks.serving.encoding.weights import Floats

Ints = NDArray[np.int64]


class OpenvinoBert:
    """Token ids to unit sentence embeddings, compiled for this CPU."""

    def __init__(self, config: BertConfig, weights: dict[str, Floats], *, threads: int, precision: str) -> None:
        """Compile the graph. `precision`: f32, bf16, or auto: bf16 where the CPU multiplies it in hardware."""
        try:
            import openvino  # heavy, and not everywhere installed
        except ImportError as error:
            raise MissingExtraError("the OpenVINO encoder", "embed") from error
        core = openvino.Core()
        if precision == "auto":
            precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        self.name = f"openvino {precision}"
        properties = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._request = core.compile_model(_Graph(config, weights).model(), "CPU", properties).create_infer_request()

    def __call__(self, ids: Ints, lengths: Ints) -> Floats:
        """Return [batch, hidden] unit vectors for [batch, longest] ids of which each row has `lengths` real ones."""
        mask = (np.arange(ids.shape[1])[None, :] < lengths[:, None]).astype(np.float32)
        self._request.infer([ids.astype(np.int32), mask])
        vectors: Floats = self._request.get_output_tensor(0).data.copy()
        return vectors


class _Graph:
    """The graph under construction."""

    def __init__(self, config: BertConfig, weights: dict[str, Floats]) -> None:
        from openvino import opset13

        self._ops = opset13
        self._config = config
        self._weights = weights

    def model(self) -> Any:
        """Return the model: ids [batch, length] i32 and mask [batch, length] f32 to vectors [batch, hidden]."""
        import openvino

        ops, config = self._ops, self._config
        ids = ops.parameter([-1, -1], np.int32, name="ids")
        mask = ops.parameter([-1, -1], np.float32, name="mask")
        words = ops.gather(self._constant("embeddings.word_embeddings.weight"), ids, ops.constant(np.int32(0)))
        length = ops.gather(ops.shape_of(ids, "i32"), ops.constant([1], np.int32), ops.constant(np.int32(0)))
        start, step = ops.constant([0], np.int32), ops.constant([1], np.int32)
        table = self._constant("embeddings.position_embeddings.weight")
        places = ops.slice(table, start, length, step, ops.constant([0], np.int32))
        states = self._norm("embeddings.LayerNorm", ops.add(words, places))
        one, far = ops.constant(np.float32(1)), ops.constant(np.float32(1e4))
        bias = ops.unsqueeze(ops.multiply(ops.subtract(mask, one), far), ops.constant([1, 2], np.int32))
        for layer in range(config.num_hidden_layers):
            states = self._layer(f"encoder.layer.{layer}.", states, bias)
        return openvino.Model([self._pool(states, mask)], [ids, mask], "encoder")

    def _layer(self, at: str, states: Any, bias: Any) -> Any:
        ops, heads = self._ops, self._config.num_attention_heads
        split = ops.constant([0, 0, heads, self._config.hidden_size // heads], np.int32)
        swap = ops.constant([0, 2, 1, 3], np.int32)
        query, key, value = (
            ops.transpose(ops.reshape(self._linear(f"{at}attention.self.{part}", states), split, True), swap)
            for part in ("query", "key", "value")
        )
        attended = ops.scaled_dot_product_attention(query, key, value, bias)
        merge = ops.constant([0, 0, self._config.hidden_size], np.int32)
        joined = self._linear(at + "attention.output.dense", ops.reshape(ops.transpose(attended, swap), merge, True))
        states = self._norm(at + "attention.output.LayerNorm", ops.add(states, joined))
        inner = ops.gelu(self._linear(at + "intermediate.dense", states), "erf")
        outer = self._linear(at + "output.dense", inner)
        return self._norm(at + "output.LayerNorm", ops.add(states, outer))

    def _pool(self, states: Any, mask: Any) -> Any:
        """Return the mean over the real tokens, scaled to length 1."""
        ops = self._ops
        along, last = ops.constant([1], np.int32), ops.constant([-1], np.int32)
        total = ops.reduce_sum(ops.multiply(states, ops.unsqueeze(mask, last)), along)
        mean = ops.divide(total, ops.reduce_sum(mask, along, True))
        return ops.normalize_l2(mean, last, 1e-24, "max")

    def _linear(self, name: str, states: Any) -> Any:
        product = self._ops.matmul(states, self._constant(name + ".weight"), False, True)
        return self._ops.add(product, self._constant(name + ".bias"))

    def _norm(self, name: str, states: Any) -> Any:
        ops = self._ops
        last = ops.constant([-1], np.int32)
        level = ops.mvn(states, last, True, self._config.layer_norm_eps, "inside_sqrt")
        return ops.add(ops.multiply(level, self._constant(name + ".weight")), self._constant(name + ".bias"))

    def _constant(self, name: str) -> Any:
        return self._ops.constant(np.ascontiguousarray(self._weights[name]))
