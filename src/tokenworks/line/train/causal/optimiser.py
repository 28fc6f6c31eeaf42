"""Muon for the matrices, Adam for embedding and head: float32 masters, working copies in the forward's type."""

from __future__ import annotations

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan 2024, Muon: coefficients of the Newton-Schulz step
_ROUNDS = 5
_MOMENTUM = 0.95
_BETAS = (0.9, 0.95)
_EPSILON = 1e-10
_TABLES = ("embed", "head")
PARTS = {
    "qkv": 3,
    "out": 1,
    "gate_up": 2,
    "down": 1,
}  # fused matrices are cut into these before they are orthogonalised


class Optimiser:
    """Holds the masters, the moments and the working copies; everything in `state()` is needed for an exact resume."""

    def __init__(self, masters: dict[str, Tensor], dtype: torch.dtype, *, parts: dict[str, int], decay: float) -> None:
        """`parts`: into how many square-ish matrices a fused one is cut before it is orthogonalised."""
        self._dtype = dtype
        self._parts = parts
        self._decay = decay
        self.step_number = 0
        self.masters = masters
        self._first = {name: torch.zeros_like(value) for name, value in masters.items()}
        self._second = {name: torch.zeros_like(masters[name]) for name in _TABLES if name in masters}
        self.working = {name: value.to(dtype, copy=True).requires_grad_() for name, value in masters.items()}

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on."""
        found = {f"master.{name}": value for name, value in self.masters.items()}
        found |= {f"first.{name}": value for name, value in self._first.items()}
        return found | {f"second.{name}": value for name, value in self._second.items()}

    def load(self, state: dict[str, Tensor], step_number: int) -> None:
        """Continue from `state()` after `step_number` steps."""
        for name, value in self.state().items():
            value.copy_(state[name])
        self.step_number = step_number
        self._publish()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, *, matrix_rate: float, table_rate: float, clip: float) -> float:
        """Apply the gradients of the working copies, clear them, and return their norm before clipping."""
        gradients = {name: value.grad.float() for name, value in self.working.items() if value.grad is not None}
        norm = float(torch.stack([value.square().sum() for value in gradients.values()]).sum().sqrt())
        self.step_number += 1
        for name, gradient in gradients.items():
            if name in _TABLES:
                gradient.mul_(min(1.0, clip / (norm + 1e-6)))
                self._adam(name, gradient, table_rate)
            else:  # orthogonalising forgets the gradient's length, so clipping would do nothing
                self._muon(name, gradient, matrix_rate)
        self._publish()
        return norm

    def _adam(self, name: str, gradient: Tensor, rate: float) -> None:
        first, second = self._first[name], self._second[name]
        first.lerp_(gradient, 1 - _BETAS[0])
        second.lerp_(gradient.square_(), 1 - _BETAS[1])
        scale = (second / (1 - _BETAS[1] ** self.step_number)).sqrt_().add_(_EPSILON)
        self.masters[name].addcdiv_(first, scale, value=-rate / (1 - _BETAS[0] ** self.step_number))

    def _muon(self, name: str, gradient: Tensor, rate: float) -> None:
        momentum = self._first[name].lerp_(gradient, 1 - _MOMENTUM)
        ahead = gradient.lerp_(momentum, _MOMENTUM)  # Nesterov
        layers, rows, columns = ahead.shape
        cut = ahead.view(layers * self._parts[name], rows // self._parts[name], columns)
        turned = orthogonal(cut, self._dtype).float().reshape(ahead.shape)
        scale = max(1.0, cut.shape[1] / cut.shape[2]) ** 0.5
        self.masters[name].mul_(1 - rate * self._decay).add_(turned, alpha=-rate * scale)

    def _publish(self) -> None:
        for name, value in self.masters.items():
            self.working[name].data.copy_(value)
            self.working[name].grad = None


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Return about U V' of each U S V' in [count, rows, columns], by Newton-Schulz in `dtype`."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        square = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x
