"""The four operations of a Llama block that torch's own forms make slow on a CPU, with their gradients by hand.

Measured figures: docs/pretrain.md. Knows tensors only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

EPSILON = 1e-5
_ROWS = 2048  # of logits at a time: they stay in the cache


class Normalise(Function):  # type: ignore[misc]
    """RMSNorm without gain over the last dimension; statistics in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return x / rms(x)."""
        exact = torch.float32 if x.dtype is torch.bfloat16 else x.dtype
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
        scale = (length.square_().div_(x.shape[-1]).add_(EPSILON)).rsqrt_().to(x.dtype)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return (g - y mean(g y)) / rms(x)."""
        y, scale = ctx.saved_tensors
        (g,) = gradients
        inner = (g * y).mean(-1, keepdim=True)
        return torch.addcmul(g, y, inner, value=-1).mul_(scale)


class Rotate(Function):  # type: ignore[misc]
    """Rotary position embedding, halves as in Hugging Face's Llama. x: [batch, time, heads, head width]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Turn each pair by its position's angle. cosine, sine: [time, 1, head width / 2]."""
        ctx.save_for_backward(cosine, sine)
        return _turn(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Turn back."""
        cosine, sine = ctx.saved_tensors
        return _turn(gradients[0], cosine, -sine), None, None


def _turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    out = torch.empty(x.shape, dtype=x.dtype)
    left, right = out.chunk(2, -1)
    torch.mul(first, cosine, out=left).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=right).addcmul_(first, sine)
    return out


class Attend(Function):  # type: ignore[misc]
    """Causal attention as plain batched products: at 128-512 tokens three times as fast as the CPU's flash kernel."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Return softmax(q k' / sqrt(width) + mask) v. q, k, v: [batch x heads, time, width]; mask: [1, time, time]."""
        scale = float(q.shape[-1]) ** -0.5
        weights = torch.softmax(torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale), -1)
        ctx.save_for_backward(q, k, v, weights)
        return torch.bmm(weights, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Differentiate through the kept weights."""
        q, k, v, weights = ctx.saved_tensors
        (g,) = gradients
        scale = float(q.shape[-1]) ** -0.5
        inner = torch.bmm(g, v.transpose(1, 2))
        inner = torch._softmax_backward_data(inner, weights, -1, weights.dtype)
        dq = torch.bmm(inner, k).mul_(scale)
        dk = torch.bmm(inner.transpose(1, 2), q).mul_(scale)
        return dq, dk, torch.bmm(weights.transpose(1, 2), g), None


class Gate(Function):  # type: ignore[misc]
    """SwiGLU: silu of the first half times the second. x: [..., 2 width]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return silu(gate) * up."""
        gate, up = x.chunk(2, -1)
        ctx.save_for_backward(x)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Compute the activation again instead of keeping it."""
        (x,) = ctx.saved_tensors
        gate, up = x.chunk(2, -1)
        (g,) = gradients
        out = torch.empty_like(x)
        left, right = out.chunk(2, -1)
        torch.mul(g, torch.nn.functional.silu(gate), out=right)
        left.copy_(torch.ops.aten.silu_backward(g * up, gate))
        return out


class CrossEntropy(Function):  # type: ignore[misc]
    """Mean cross-entropy of a linear head, gradients taken on the way forward, a few rows of logits at a time."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        """Return the mean in nats. hidden: [tokens, width], head: [vocabulary, width], targets: [tokens]."""
        total = torch.zeros((), dtype=torch.float64)
        d_hidden, d_head = torch.empty_like(hidden), torch.zeros(head.shape, dtype=torch.float32)
        for start in range(0, len(hidden), _ROWS):
            rows, wanted = hidden[start : start + _ROWS], targets[start : start + _ROWS, None]
            chance = torch.softmax(rows @ head.t(), -1)
            picked = chance.gather(1, wanted)
            total -= picked.double().log().sum()
            chance.scatter_(1, wanted, picked - 1).div_(len(hidden))
            torch.mm(chance, head, out=d_hidden[start : start + _ROWS])
            d_head += chance.t() @ rows
        ctx.save_for_backward(d_hidden, d_head.to(head.dtype))
        return (total / len(hidden)).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return what the way forward found; the loss must be the root of the graph."""
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden, d_head, None
