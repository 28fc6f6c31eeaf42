"""Wrong labels, weights and requests without labels: the classifier learns what is true, or leaves them alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tokenworks.core.errors import DataError
from tokenworks.line.train import classify
from tokenworks.line.train._head import Choice, choose, fit_head, noisy_nll
from tokenworks.line.train._labelled import read_labelled
from tokenworks.line.train._unlabelled import read_unlabelled, try_guesses

CLASSES = 6


def blobs(rows: int, spread: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(0, 1, (CLASSES, 16))
    truth = rng.integers(0, CLASSES, rows)
    points = centres[truth] + rng.normal(0, spread, (rows, 16))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(truth)


def spoilt(truth: torch.Tensor, share: float) -> torch.Tensor:
    rng = np.random.default_rng(3)
    wrong = torch.tensor(rng.random(len(truth)) < share)
    return torch.where(wrong, (truth + torch.tensor(rng.integers(1, CLASSES, len(truth)))) % CLASSES, truth)


def right(head, points, truth) -> float:
    return float(((points @ head[0].T + head[1]).argmax(1) == truth).float().mean())


def test_the_loss_of_a_contradicted_label_is_bounded():
    logits = torch.tensor([[50.0, 0.0]])
    assert float(noisy_nll(logits, torch.tensor([1]), 0.0)) == pytest.approx(50)
    assert float(noisy_nll(logits, torch.tensor([1]), 0.2)) == pytest.approx(-np.log(0.1), abs=1e-4)


def test_noise_is_found_where_it_is_and_costs_little():
    points, truth = blobs(400, 0.5, 0)
    asked, answers = blobs(600, 0.5, 1)
    labels = spoilt(truth, 0.25)
    clean, noisy = choose(points, truth, CLASSES, 0), choose(points, labels, CLASSES, 0)
    assert clean.noise <= 0.05
    assert noisy.noise >= 0.2
    best = right(fit_head(points, truth, CLASSES, clean.strength), asked, answers)
    learnt = right(fit_head(points, labels, CLASSES, noisy.strength, noise=noisy.noise), asked, answers)
    assert learnt > best - 0.03


def test_rows_of_little_weight_pull_little():
    points, truth = blobs(300, 0.3, 0)
    labels = torch.cat([truth, (truth[:150] + 1) % CLASSES])
    both = torch.cat([points, points[:150]])
    weights = torch.cat([torch.ones(300), torch.full((150,), 0.01)])
    head = fit_head(both, labels, CLASSES, 30.0, weights=weights)
    assert right(head, points, truth) > 0.97


def test_guesses_are_used_only_where_unseen_rows_agree():
    points, truth = blobs(60, 0.5, 0)
    choice = Choice(strength=30.0, noise=0.0, temperature=1.0, accuracy=0, nll=0, rows=60)
    weights = torch.ones(len(truth))
    noise = torch.nn.functional.normalize(torch.randn(600, 16, generator=torch.Generator().manual_seed(0)))
    for asked in (blobs(600, 0.5, 2)[0], noise):
        found = try_guesses(points, truth, weights, asked, CLASSES, choice, 0)
        better = found.accuracy_with > found.accuracy_without and found.nll_with <= found.nll_without
        assert found.helps == better
        assert found.used == (600 if better else 0)


def test_a_weight_of_zero_leaves_a_row_out_and_a_strange_one_is_named():
    rows = [
        {"text": "a", "label": "x"},
        {"text": "b", "label": "y", "weight": 0.5},
        {"text": "c", "label": "y", "weight": 0},
    ]
    data = read_labelled(json.dumps(row).encode() for row in rows)
    assert (data.texts, data.weights) == (["a", "b"], [1.0, 0.5])
    with pytest.raises(DataError, match="line 1: weight is 7"):
        read_labelled([b'{"text": "a", "label": "x", "weight": 7}'])


def test_requests_that_are_labelled_or_repeated_are_not_guessed_at():
    rows = [
        b'{"text": "Known  text"}',
        b'{"text": "new", "answer": "x", "confidence": null}',
        b'{"text": "NEW"}',
        b"{}",
    ]
    assert read_unlabelled(rows, {"known text"}) == ["new"]
    with pytest.raises(DataError, match="unlabelled line 1"):
        read_unlabelled([b"[1]"], set())


def test_training_says_what_the_requests_without_labels_did(bench, put_rows, tiny_bert):
    rows = [(f"{word} {number}", label) for number in range(8) for word, label in (("card", "a"), ("money", "b"))]
    asked = "".join(
        json.dumps({"text": f"{word} x {number}"}) + "\n" for number in range(20) for word in ("card", "money")
    )
    inputs = {
        "train": put_rows(rows),
        "base": bench.artifacts.put_folder(tiny_bert),
        "unlabelled": bench.artifacts.put_bytes(asked.encode()),
    }
    inputs |= classify.PLAN.run(inputs, classify.Params(), bench)
    out = classify.TRAIN.run(inputs, classify.Params(), bench)
    log = json.loads(bench.artifacts.get_bytes(out["log"]))
    assert log["unlabelled"]["rows"] == 40
    assert log["unlabelled"]["used"] in (0, 40)
    assert dict(classify.TRAIN.run(inputs, classify.Params(), bench)) == dict(out)
