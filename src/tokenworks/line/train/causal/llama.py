"""A lean Llama for training: fused weights, stacked layers, the operations of `operators`; and Hugging Face's names."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import torch
from torch import Tensor
from torch.nn import functional

from tokenworks.line.train.causal.operators import Attend, CrossEntropy, Gate, Normalise, Rotate

ROPE_THETA = 10_000.0


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a model."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int  # of the feed-forward part
    context: int  # tokens seen at once
    tied: bool = True  # one matrix for embedding and head

    @property
    def body(self) -> int:
        """Parameters in the blocks."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.hidden)

    @property
    def parameters(self) -> int:
        """All parameters as stored."""
        norms = (2 * self.layers + 1) * self.width
        return self.body + (1 if self.tied else 2) * self.vocabulary * self.width + norms

    @property
    def multiplied(self) -> int:
        """Parameters that each token is multiplied with: the N of 6 N D."""
        return self.body + self.vocabulary * self.width


def new_weights(shape: Shape, seed: int) -> dict[str, Tensor]:
    """Return float32 weights drawn from `seed`; what writes into the residual stream starts at zero."""
    rng = torch.Generator().manual_seed(seed)
    width, layers, hidden = shape.width, shape.layers, shape.hidden

    def normal(*size: int, std: float) -> Tensor:
        return torch.randn(*size, generator=rng) * std

    weights = {
        "embed": normal(shape.vocabulary, width, std=0.02 if shape.tied else 0.3),
        "qkv": normal(layers, 3 * width, width, std=width**-0.5),
        "out": torch.zeros(layers, width, width),
        "gate_up": normal(layers, 2 * hidden, width, std=width**-0.5),
        "down": torch.zeros(layers, width, hidden),
    }
    if not shape.tied:
        weights["head"] = torch.zeros(shape.vocabulary, width)
    return weights


class Llama:
    """The forward pass over a set of weights: float32 or bfloat16, as they come."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        self.shape = shape
        half = shape.width // shape.heads // 2
        frequency = ROPE_THETA ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = torch.outer(torch.arange(shape.context, dtype=torch.float32), frequency)[:, None]
        self._cosine, self._sine = angle.cos().to(dtype), angle.sin().to(dtype)
        mask = torch.full((shape.context, shape.context), float("-inf")).triu(1)
        self._mask = mask[None].to(dtype)

    def loss(self, weights: dict[str, Tensor], tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats. tokens, targets: [batch, time]."""
        hidden = self.hidden(weights, tokens).flatten(0, 1)
        loss: Tensor = CrossEntropy.apply(hidden, weights.get("head", weights["embed"]), targets.flatten())
        return loss

    def hidden(self, weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
        """Return the normalised last hidden states, [batch, time, width]."""
        x = functional.embedding(tokens, weights["embed"])
        names = ("qkv", "out", "gate_up", "down")
        for qkv, out, gate_up, down in zip(*(weights[name].unbind(0) for name in names), strict=True):
            x = x + functional.linear(self._attention(functional.linear(_norm(x), qkv)), out)
            x = x + functional.linear(Gate.apply(functional.linear(_norm(x), gate_up)), down)
        return _norm(x)

    def _attention(self, qkv: Tensor) -> Tensor:
        batch, time, _ = qkv.shape
        heads, each = self.shape.heads, self.shape.width // self.shape.heads
        qkv = qkv.view(batch, time, 3 * heads, each)
        turned = Rotate.apply(qkv[:, :, : 2 * heads], self._cosine[:time], self._sine[:time])
        q, k = (part.transpose(1, 2).reshape(batch * heads, time, each) for part in turned.chunk(2, 2))
        v = qkv[:, :, 2 * heads :].transpose(1, 2).reshape(batch * heads, time, each)
        mixed = Attend.apply(q, k, v, self._mask[:, :time, :time])
        return mixed.view(batch, heads, time, each).transpose(1, 2).reshape(batch, time, heads * each)


def _norm(x: Tensor) -> Tensor:
    y: Tensor = Normalise.apply(x)
    return y


def hugging_face_names(shape: Shape, weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors under `LlamaForCausalLM`'s names, split as it wants them."""
    width, hidden, one = shape.width, shape.hidden, torch.ones(shape.width)
    yield "model.embed_tokens.weight", weights["embed"]
    yield "model.norm.weight", one
    if not shape.tied:
        yield "lm_head.weight", weights["head"]
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        for name, part in zip(("q", "k", "v"), weights["qkv"][layer].split(width), strict=True):
            yield f"{prefix}self_attn.{name}_proj.weight", part
        yield f"{prefix}self_attn.o_proj.weight", weights["out"][layer]
        for name, part in zip(("gate", "up"), weights["gate_up"][layer].split(hidden), strict=True):
            yield f"{prefix}mlp.{name}_proj.weight", part
        yield f"{prefix}mlp.down_proj.weight", weights["down"][layer]
        yield f"{prefix}input_layernorm.weight", one
        yield f"{prefix}post_attention_layernorm.weight", one
