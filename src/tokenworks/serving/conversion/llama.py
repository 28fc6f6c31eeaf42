"""Build the stateful OpenVINO graph of a Llama-family decoder, operation by operation, from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenworks.serving.conversion.shape import Shape
from tokenworks.serving.conversion.weights import Array, to_bfloat16_bits, to_float32, to_int8

Node = Any  # openvino ships no usable types


class LlamaGraph:
    """Makes a model with the inputs and states that OpenVINO GenAI expects of a language model.

    Inputs: input_ids, attention_mask, position_ids [batch, tokens] and beam_idx [batch]; output: logits
    [batch, tokens, vocabulary]. Keys and values are state variables, which GenAI replaces by paged attention.
    """

    def __init__(self, shape: Shape, weights: Mapping[str, Array], precision: str) -> None:
        import openvino as ov  # heavy: only the process that converts or serves loads it
        from openvino import opset13

        self._ov, self._ops = ov, opset13
        self._shape, self._weights, self._precision = shape, weights, precision
        self._sinks: list[Node] = []

    def build(self) -> Node:
        """Return the `openvino.Model`."""
        ov, ops = self._ov, self._ops
        ids, mask, positions = (
            self._parameter(name, [-1, -1], np.int64) for name in ("input_ids", "attention_mask", "position_ids")
        )
        self._beam = self._parameter("beam_idx", [-1], np.int32)
        self._batch = ops.gather(ops.shape_of(ids), self._ints([0]), self._int(0))
        self._rotation = self._rotations(positions)
        self._mask = self._causal_mask(ids, mask)
        embedding = self._matrix("model.embed_tokens.weight")
        # GenAI finds prefixes again by the ids it is given: above the bits of the vocabulary they carry a salt.
        bare = ops.bitwise_and(ids, self._int((1 << id_bits(self._shape.vocabulary)) - 1))
        hidden = ops.gather(embedding, bare, self._int(0))
        for layer in range(self._shape.layers):
            hidden = self._layer(f"model.layers.{layer}", layer, hidden)
        hidden = self._norm("model.norm.weight", hidden)
        # A tied head gets its own constant: GenAI takes embeddings out of the graph by their single use.
        head = "lm_head.weight" if "lm_head.weight" in self._weights else "model.embed_tokens.weight"
        logits = ops.matmul(hidden, self._matrix(head), False, True)
        result = ops.result(logits)
        result.output(0).set_names({"logits"})
        return ov.Model([result], self._sinks, [ids, mask, positions, self._beam], "llama")

    def _layer(self, name: str, index: int, hidden: Node) -> Node:
        ops = self._ops
        attended = self._attention(name + ".self_attn", index, self._norm(name + ".input_layernorm.weight", hidden))
        hidden = ops.add(hidden, attended)
        normed = self._norm(name + ".post_attention_layernorm.weight", hidden)
        gate = ops.swish(self._linear(name + ".mlp.gate_proj", normed))
        gated = ops.multiply(gate, self._linear(name + ".mlp.up_proj", normed))
        return ops.add(hidden, self._linear(name + ".mlp.down_proj", gated))

    def _attention(self, name: str, index: int, hidden: Node) -> Node:
        ops, shape = self._ops, self._shape
        query = self._rotate(self._heads(name, "q", hidden, shape.heads))
        key = self._remember(
            f"past_key_values.{index}.key", self._rotate(self._heads(name, "k", hidden, shape.kv_heads))
        )
        value = self._remember(f"past_key_values.{index}.value", self._heads(name, "v", hidden, shape.kv_heads))
        if shape.heads != shape.kv_heads:
            key, value = self._repeat(key), self._repeat(value)
        attended = ops.scaled_dot_product_attention(query, key, value, self._mask)
        merged = ops.transpose(attended, self._ints([0, 2, 1, 3]))
        flat = ops.reshape(merged, self._ints([0, 0, shape.heads * shape.head_size]), True)
        return self._linear(name + ".o_proj", flat)

    def _heads(self, name: str, which: str, hidden: Node, heads: int) -> Node:
        """Project to [batch, heads, tokens, head_size]; Qwen 3 normalises queries and keys within each head."""
        ops = self._ops
        projected = self._linear(f"{name}.{which}_proj", hidden)
        split = ops.reshape(projected, self._ints([0, 0, heads, self._shape.head_size]), True)
        if f"{name}.{which}_norm.weight" in self._weights:
            split = self._norm(f"{name}.{which}_norm.weight", split)
        return ops.transpose(split, self._ints([0, 2, 1, 3]))

    def _remember(self, variable: str, fresh: Node) -> Node:
        """Append `fresh` to the state `variable`; return all of it."""
        from openvino import opset6  # the version whose operations name variables by string

        ops, shape = self._ops, self._shape
        size = [-1, shape.kv_heads, -1, shape.head_size]
        empty = ops.concat([self._batch, self._ints([shape.kv_heads, 0, shape.head_size])], 0)
        state = opset6.read_value(
            ops.broadcast(np.float32(0), empty), variable, np.float32, self._ov.PartialShape(size)
        )
        whole = ops.concat([ops.gather(state, self._beam, self._int(0)), fresh], 2)
        self._sinks.append(opset6.assign(whole, variable))
        return whole

    def _repeat(self, states: Node) -> Node:
        """Give each group of query heads its own view of the shared keys or values."""
        ops, shape = self._ops, self._shape
        each = shape.heads // shape.kv_heads
        target = ops.concat([self._batch, self._ints([shape.kv_heads, each, 1, shape.head_size])], 0)
        spread = ops.broadcast(ops.unsqueeze(states, self._int(2)), target, broadcast_spec="BIDIRECTIONAL")
        return ops.reshape(spread, self._ints([0, shape.heads, -1, shape.head_size]), True)

    def _rotations(self, positions: Node) -> tuple[Node, Node]:
        """Return cosine and sine of the rotary angles, [batch, 1, tokens, head_size]."""
        ops = self._ops
        steps = np.array(self._shape.inverse_frequencies, np.float32).reshape(1, -1, 1)
        target = ops.concat([self._batch, self._ints([1, 1])], 0)
        spread = ops.broadcast(ops.constant(steps), target, broadcast_spec="BIDIRECTIONAL")
        places = ops.convert(ops.unsqueeze(positions, self._int(1)), np.float32)
        angles = ops.transpose(ops.matmul(spread, places, False, False), self._ints([0, 2, 1]))
        both = ops.concat([angles, angles], -1)
        return ops.unsqueeze(ops.cos(both), self._int(1)), ops.unsqueeze(ops.sin(both), self._int(1))

    def _rotate(self, states: Node) -> Node:
        ops, half = self._ops, self._shape.head_size // 2
        cosine, sine = self._rotation
        last, one = self._ints([3]), self._ints([1])
        upper = ops.slice(states, self._ints([half]), self._ints([2**63 - 1]), one, last)
        lower = ops.slice(states, self._ints([0]), self._ints([half]), one, last)
        turned = ops.concat([ops.multiply(upper, np.float32(-1.0)), lower], -1)
        return ops.add(ops.multiply(states, cosine), ops.multiply(turned, sine))

    def _causal_mask(self, ids: Node, mask: Node) -> Node:
        """Return [1, 1, tokens, all tokens]: true where the key is not later than the query."""
        ops = self._ops
        fresh = ops.gather(ops.shape_of(ids), self._int(1), self._int(0))
        total = ops.gather(ops.shape_of(mask), self._int(1), self._int(0))
        keys = ops.range(self._int(0), total, self._int(1), "i64")
        queries = ops.range(ops.subtract(total, fresh), total, self._int(1), "i64")
        allowed = ops.less_equal(ops.unsqueeze(keys, self._int(0)), ops.unsqueeze(queries, self._int(1)))
        return ops.unsqueeze(allowed, self._ints([0, 1]))

    def _norm(self, name: str, hidden: Node) -> Node:
        """Root mean square normalisation (Zhang 2019) in float32."""
        ops = self._ops
        mean = ops.reduce_mean(ops.power(hidden, np.float32(2.0)), self._ints([-1]), True)
        root = ops.sqrt(ops.add(mean, np.float32(self._shape.epsilon)))
        scaled = ops.multiply(hidden, ops.divide(np.float32(1.0), root))
        return ops.multiply(scaled, ops.constant(to_float32(self._weights[name])))

    def _linear(self, name: str, hidden: Node) -> Node:
        product = self._ops.matmul(hidden, self._matrix(name + ".weight"), False, True)
        if name + ".bias" not in self._weights:
            return product
        return self._ops.add(product, self._ops.constant(to_float32(self._weights[name + ".bias"])))

    def _matrix(self, name: str) -> Node:
        """Return a weight as float32, stored in the precision asked for."""
        ov, ops, array = self._ov, self._ops, self._weights[name]
        if self._precision == "f32":
            return ops.constant(to_float32(array))
        if self._precision == "bf16":
            stored = ov.Tensor(ov.Type.bf16, list(array.shape))  # owns its bytes: a constant of an array borrows them
            stored.data.view(np.uint16)[...] = to_bfloat16_bits(array)
            return ops.convert(ops.constant(stored), np.float32)
        values, scale = to_int8(array)
        return ops.multiply(ops.convert(ops.constant(values), np.float32), ops.constant(scale))

    def _parameter(self, name: str, size: list[int], dtype: Any) -> Node:
        node = self._ops.parameter(size, dtype)
        node.set_friendly_name(name)  # GenAI finds its inputs by both names
        node.output(0).set_names({name})
        return node

    def _int(self, value: int) -> Node:
        return self._ops.constant(np.int64(value))

    def _ints(self, values: list[int]) -> Node:
        return self._ops.constant(np.array(values, np.int64))


def id_bits(vocabulary: int) -> int:
    """Return how many bits a token id takes."""
    return max(1, (vocabulary - 1).bit_length())
