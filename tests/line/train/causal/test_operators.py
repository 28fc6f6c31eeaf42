"""Each hand-written gradient against torch's own autograd on the plain formula, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tokenworks.line.train.causal.operators import EPSILON, Attend, CrossEntropy, Gate, Normalise, Rotate


def drawn(*size: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=rng, dtype=torch.float64).requires_grad_()


def assert_same(ours, plain, *leaves):
    """Compare values, and gradients under a random cotangent."""
    assert torch.allclose(ours, plain, atol=1e-6)
    weight = drawn(*ours.shape, seed=9).detach() if ours.ndim else torch.ones(())
    found = torch.autograd.grad((ours * weight).sum(), leaves)
    wanted = torch.autograd.grad((plain * weight).sum(), leaves)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_normalise_is_rms_norm_without_gain():
    x = drawn(3, 5, 16)
    assert_same(Normalise.apply(x), x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt(), x)


def test_rotate_turns_halves_as_hugging_face_does():
    x = drawn(2, 6, 3, 8)
    angle = torch.outer(torch.arange(6.0), torch.tensor([1.0, 0.5, 0.1, 0.01]))[:, None].double()
    cosine, sine = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    turned = torch.cat([-x[..., 4:], x[..., :4]], -1)
    ours = _rotate64(x, angle)
    assert_same(ours, x * cosine + turned * sine, x)


def _rotate64(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    return Rotate.apply(x, angle.cos(), angle.sin())


def test_attend_is_causal_scaled_dot_product_attention():
    q, k, v = (drawn(4, 7, 8, seed=seed) for seed in (1, 2, 3))
    mask = torch.full((1, 7, 7), float("-inf"), dtype=torch.float64).triu(1)
    assert_same(Attend.apply(q, k, v, mask), functional.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v)


def test_gate_is_swiglu():
    x = drawn(3, 4, 10)
    gate, up = x.chunk(2, -1)
    assert_same(Gate.apply(x), functional.silu(gate) * up, x)


@pytest.mark.parametrize("rows", [1, 5, 2049])
def test_cross_entropy_in_chunks_is_cross_entropy(rows):
    hidden, head = drawn(rows, 6), drawn(11, 6, seed=2)
    targets = torch.arange(rows) % 11
    ours = CrossEntropy.apply(hidden, head, targets)
    assert_same(ours.double(), functional.cross_entropy(hidden @ head.t(), targets), hidden, head)


def test_cross_entropy_in_bfloat16_is_right_to_half_a_percent():
    hidden, head = drawn(4096, 64), drawn(1000, 64, seed=2)
    targets = torch.arange(4096) % 1000
    exact = functional.cross_entropy(hidden @ head.t(), targets)
    ours = CrossEntropy.apply(hidden.detach().bfloat16(), head.detach().bfloat16(), targets)
    assert math.isclose(float(ours), float(exact), rel_tol=5e-3)
