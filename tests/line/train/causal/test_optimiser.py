"""Orthogonal updates, and a state from which the next step is the same to the bit."""

from __future__ import annotations

import pytest
import torch

from tokenworks.line.train.causal.llama import Llama, Shape, new_weights
from tokenworks.line.train.causal.optimiser import PARTS, Optimiser, orthogonal

SHAPE = Shape(vocabulary=50, width=32, layers=2, heads=2, hidden=48, context=16, tied=False)


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(number)
    rows = torch.randint(50, (4, 17), generator=rng)
    return rows[:, :-1], rows[:, 1:]


def advance(optimiser: Optimiser, dtype: torch.dtype, numbers: range) -> None:
    model = Llama(SHAPE, dtype)
    for number in numbers:
        model.loss(optimiser.working, *batch(number)).backward()
        optimiser.step(matrix_rate=0.02, table_rate=0.01, clip=1.0)


@pytest.mark.parametrize("size", [(3, 16, 16), (2, 40, 16), (2, 16, 40)])
def test_all_singular_values_come_close_to_one(size):
    matrices = torch.randn(*size, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices, torch.float32))
    assert values.min() > 0.3
    assert values.max() < 1.3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loaded_state_goes_on_to_the_same_bits(dtype):
    whole = Optimiser(new_weights(SHAPE, 1), dtype, parts=PARTS, decay=0.0)
    advance(whole, dtype, range(6))
    first = Optimiser(new_weights(SHAPE, 1), dtype, parts=PARTS, decay=0.0)
    advance(first, dtype, range(3))
    kept = {name: value.clone() for name, value in first.state().items()}
    second = Optimiser(new_weights(SHAPE, 2), dtype, parts=PARTS, decay=0.0)
    second.load(kept, 3)
    advance(second, dtype, range(3, 6))
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name


def test_a_step_learns():
    optimiser = Optimiser(new_weights(SHAPE, 0), torch.float32, parts=PARTS, decay=0.0)
    model = Llama(SHAPE, torch.float32)
    before = float(model.loss(optimiser.working, *batch(0)).detach())
    for _ in range(20):
        advance(optimiser, torch.float32, range(1))
    assert float(model.loss(optimiser.working, *batch(0)).detach()) < before - 1


@pytest.mark.parametrize("tied", [True, False])
def test_the_shape_counts_what_is_stored(tied):
    from tokenworks.line.train.causal.llama import hugging_face_names

    shape = Shape(vocabulary=50, width=32, layers=2, heads=2, hidden=48, context=16, tied=tied)
    named = dict(hugging_face_names(shape, new_weights(shape, 0)))
    assert sum(value.numel() for value in named.values()) == shape.parameters


def test_a_model_without_its_own_head_learns_with_one_table():
    shape = Shape(vocabulary=50, width=32, layers=1, heads=2, hidden=48, context=16, tied=True)
    optimiser = Optimiser(new_weights(shape, 0), torch.float32, parts=PARTS, decay=0.0)
    model = Llama(shape, torch.float32)
    losses = []
    for _ in range(10):
        loss = model.loss(optimiser.working, *batch(0))
        loss.backward()
        losses.append(float(loss.detach()))
        optimiser.step(matrix_rate=0.02, table_rate=0.01, clip=1.0)
    assert losses[-1] < losses[0]
