"""The linear head: solved exactly, chosen by cross-validation, calibrated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenworks.line.train._checkpoint import load_tensors, save_tensors
from tokenworks.line.train._classify_full import split
from tokenworks.line.train._head import calibrate, choose, fit_head, judge


@pytest.fixture
def clouds() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    targets = torch.arange(300) % 5
    centres = torch.randn(5, 16, generator=draws)
    points = centres[targets] + 0.6 * torch.randn(300, 16, generator=draws)
    return torch.nn.functional.normalize(points), targets


def test_the_head_agrees_with_scikit_learn(clouds):
    from sklearn.linear_model import LogisticRegression

    points, targets = clouds
    weight, bias = fit_head(points, targets, 5, 10.0)
    reference = LogisticRegression(C=10.0, max_iter=1000, tol=1e-6).fit(points.numpy(), targets.numpy())
    ours = (points @ weight.T + bias).softmax(-1).numpy()
    assert np.abs(ours - reference.predict_proba(points.numpy())).max() < 5e-3


def test_cross_validation_reports_what_it_measured(clouds):
    choice = choose(*clouds, 5, 0)
    assert choice.rows == 300
    assert choice.accuracy > 0.9
    assert choice == choose(*clouds, 5, 0)


def test_calibration_undoes_overconfidence():
    draws = torch.Generator().manual_seed(1)
    logits = torch.randn(4000, 4, generator=draws)
    truth = torch.multinomial(logits.softmax(-1), 1, generator=draws)[:, 0]
    temperature = calibrate(logits * 3, truth)
    assert 2.5 < temperature < 3.5
    assert judge(logits * 3 / temperature, truth)[1] < judge(logits * 3, truth)[1]


def test_held_out_rows_leave_two_of_every_class():
    targets = np.array([0] * 300 + [1] * 3 + [2])
    learn, held = split(targets, 0)
    assert len(held) == 30
    assert sorted([*learn, *held]) == list(range(len(targets)))
    assert (targets[learn] == 1).sum() >= 2
    assert (targets[learn] == 2).sum() == 1


def test_half_a_checkpoint_is_no_checkpoint(tmp_path):
    path = tmp_path / "c.tensors"
    assert load_tensors(path) is None
    save_tensors(path, {"a": torch.arange(10)})
    kept = load_tensors(path)
    assert kept is not None
    assert kept["a"].tolist() == list(range(10))
    path.write_bytes(path.read_bytes()[:-1])
    assert load_tensors(path) is None
