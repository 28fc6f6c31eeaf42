"""Optimisers without the compiler take the steps that they take with it, and do not load it."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch (extra 'train') is not installed")

from tokenworks.line.train._uncompiled import uncompiled  # noqa: E402 - not without torch

LOADED = """
import sys, torch
from tokenworks.line.train._head import fit_head
from tokenworks.line.train._uncompiled import uncompiled
fit_head(torch.randn(12, 4), torch.arange(12) % 3, 3, 1.0)
weight = torch.nn.Parameter(torch.ones(2))
optimiser = uncompiled(torch.optim.AdamW)([weight], lr=0.1, fused=True)
weight.sum().backward()
optimiser.step()
optimiser.zero_grad()
optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules, "torch._compile" in sys.modules)
"""


def test_training_does_not_load_the_compiler():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("AdamW", {"lr": 0.05, "weight_decay": 0.1, "fused": True}),
        ("AdamW", {"lr": 0.05, "fused": False}),
        ("LBFGS", {"max_iter": 5, "line_search_fn": "strong_wolfe"}),
    ],
)
def test_the_steps_are_the_same_to_the_bit(kind, options):
    def after_three_steps(made):
        torch.manual_seed(0)
        weight, wanted = torch.nn.Parameter(torch.randn(8, 3)), torch.randn(8, 3)
        optimiser = made([weight], **options)

        def loss():
            optimiser.zero_grad()
            value = (weight - wanted).pow(4).sum() + weight.abs().sum()
            value.backward()
            return value

        for _ in range(3):
            optimiser.step(loss)
        return weight.detach()

    plain = getattr(torch.optim, kind)
    assert torch.equal(after_three_steps(uncompiled(plain)), after_three_steps(plain))
    assert uncompiled(plain) is uncompiled(plain)
