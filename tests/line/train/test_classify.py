"""The classifier: learns, resumes to the same bytes after a kill, and says what is wrong with its data."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tokenworks.core.encoder_folder import check_folder, read_card
from tokenworks.core.errors import DataError
from tokenworks.core.stage import Bench
from tokenworks.line.train import classify
from tokenworks.line.train.bases import resolve_base

ROWS = [
    (f"{start} {what} {end}", label)
    for label, whats in {
        "card": ("card lost", "lost card", "card is late"),
        "money": ("money sent", "transfer money", "sent to bank"),
        "app": ("app password", "password of app", "account app"),
    }.items()
    for what in whats
    for start in ("help", "please", "the", "what is", "a")
    for end in ("", "now", "please help", "to the bank", "fee 3", "late", "x y", "z", "q1")
]


def learn(bench: Bench, inputs: dict[str, str], params: classify.Params) -> tuple[str, dict[str, object]]:
    plan = classify.PLAN.run(inputs, params, bench)
    out = classify.TRAIN.run({**inputs, **plan}, params, bench)
    return out["model"], json.loads(bench.artifacts.get_bytes(out["log"]))


def test_a_head_learns_separable_classes_and_the_folder_stands_alone(bench, put_rows, tiny_bert):
    inputs = {"train": put_rows(ROWS), "base": bench.artifacts.put_folder(tiny_bert)}
    model, log = learn(bench, inputs, classify.Params(method="head"))
    folder = bench.artifacts.folder(model)
    check_folder(folder)
    card = read_card(folder)
    assert card is not None
    assert card.classes == ["app", "card", "money"]
    assert log["cross_validated"]["accuracy"] > 0.6  # a third by chance; the encoder is random
    assert (folder / "model.safetensors").read_bytes() == (tiny_bert / "model.safetensors").read_bytes()


def test_fine_tuning_changes_the_encoder_and_is_judged_on_held_out_rows(bench, put_rows, tiny_bert):
    inputs = {"train": put_rows(ROWS), "base": bench.artifacts.put_folder(tiny_bert)}
    model, log = learn(bench, inputs, classify.Params(method="full", budget_s=30))
    folder = bench.artifacts.folder(model)
    assert log["held_out"]["accuracy"] > 0.6
    assert sum(log["losses"][-5:]) < sum(log["losses"][:5])
    assert (folder / "model.safetensors").read_bytes() != (tiny_bert / "model.safetensors").read_bytes()
    assert len(log["losses"]) == json.loads(bench.artifacts.get_bytes(classify_plan(bench, inputs)))["steps"]


def classify_plan(bench: Bench, inputs: dict[str, str]) -> str:
    return classify.PLAN.run(inputs, classify.Params(method="full", budget_s=30), bench)["plan"]


def test_few_examples_are_planned_as_a_head(bench, put_rows, tiny_bert):
    inputs = {"train": put_rows(ROWS[:200]), "base": bench.artifacts.put_folder(tiny_bert)}
    plan = json.loads(bench.artifacts.get_bytes(classify.PLAN.run(inputs, classify.Params(), bench)["plan"]))
    assert plan["method"] == "head"
    assert plan["steps"] == 0
    assert "too few" in plan["why"]


def test_training_killed_at_any_step_ends_in_the_same_bytes(bench, put_rows, tiny_bert, tmp_path):
    inputs = {"train": put_rows(ROWS), "base": bench.artifacts.put_folder(tiny_bert)}
    params = classify.Params(method="full", budget_s=30)
    inputs |= classify.PLAN.run(inputs, params, bench)
    undisturbed = dict(classify.TRAIN.run(inputs, params, bench))
    again = tmp_path / "killed"
    again.mkdir()
    for kill_at in (7, 20):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), json.dumps(inputs), str(kill_at)])
        assert done.returncode == -signal.SIGKILL
    assert (again / "checkpoint.tensors").exists()
    resumed = classify.TRAIN.run(inputs, params, replace(bench, scratch=again))
    assert dict(resumed) == undisturbed


KILLED = f"""
import json, os, signal, sys
from pathlib import Path
from tokenworks.core.stage import Bench
from tokenworks.line.train import _encoder_loop, classify
from tokenworks.store.artifacts import open_artifacts

folder, inputs, kill_at = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
_encoder_loop.CHECKPOINT_EVERY_S = 0.0

def progress(done, total=None, *, unit="", note=""):
    if unit == "steps" and done >= kill_at:
        os.kill(os.getpid(), signal.{signal.SIGKILL.name})

artifacts = open_artifacts(str(folder / "artifacts"), cache=folder / "store-cache")
bench = Bench(artifacts=artifacts, scratch=folder / "killed", cache=folder / "cache", progress=progress, threads=1)
classify.TRAIN.run(inputs, classify.Params(method="full", budget_s=30), bench)
"""


def test_a_damaged_checkpoint_is_ignored_and_the_result_stays_the_same(bench, put_rows, tiny_bert):
    inputs = {"train": put_rows(ROWS), "base": bench.artifacts.put_folder(tiny_bert)}
    params = classify.Params(method="full", budget_s=30)
    inputs |= classify.PLAN.run(inputs, params, bench)
    first = dict(classify.TRAIN.run(inputs, params, bench))
    for name in ("checkpoint.tensors", "frozen.tensors"):
        (bench.scratch / name).write_bytes(os.urandom(1000))
    assert dict(classify.TRAIN.run(inputs, params, bench)) == first


def test_one_class_is_refused_with_its_name(bench, put_rows, tiny_bert):
    inputs = {"train": put_rows([("a", "x"), ("b", "x")]), "base": bench.artifacts.put_folder(tiny_bert)}
    with pytest.raises(DataError, match=r"1 class \('x'\)"):
        classify.PLAN.run(inputs, classify.Params(), bench)


@pytest.mark.parametrize("method", ["head", "full"])
def test_two_examples_a_class_still_give_a_model(method, bench, put_rows, tiny_bert):
    rows = [("card lost", "card"), ("lost card", "card"), ("money sent", "money"), ("sent money", "money")]
    inputs = {"train": put_rows(rows), "base": bench.artifacts.put_folder(tiny_bert)}
    model, log = learn(bench, inputs, classify.Params(method=method))
    assert log["method"] == method
    assert check_folder(bench.artifacts.folder(model)).hidden_size == 32


def test_a_thousand_classes_are_learnt(bench, put_rows, tiny_bert):
    rows = [(f"{number} {word}", f"class-{number}") for number in range(1000) for word in ("card", "bank")]
    inputs = {"train": put_rows(rows), "base": bench.artifacts.put_folder(tiny_bert)}
    model, log = learn(bench, inputs, classify.Params(method="head"))
    assert log["classes"] == 1000
    card = read_card(bench.artifacts.folder(model))
    assert card is not None
    assert len(card.classes) == 1000


@pytest.mark.slow
def test_minilm_with_a_head_sorts_bank_questions(bench, put_rows, data_folder):
    folder = data_folder / "instruct-eval" / "banking77"
    inputs = {
        "train": put_rows(bank(folder / "train.csv")[::16]),
        "base": bench.artifacts.put_folder(resolve_base("minilm", Path())),
    }
    model, log = learn(bench, inputs, classify.Params(method="head"))
    assert log["cross_validated"]["accuracy"] > 0.7
    assert accuracy(bench.artifacts.folder(model), bank(folder / "test.csv")[::20]) > 0.7


def bank(path: Path) -> list[tuple[str, str]]:
    with path.open() as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def accuracy(folder: Path, rows: list[tuple[str, str]]) -> float:
    import torch
    from safetensors.torch import load_file

    from tokenworks.line.train._encoder_torch import embed_rows, load_encoder
    from tokenworks.line.train._tokens import tokenize

    head, card = load_file(folder / "head.safetensors"), read_card(folder)
    assert card is not None
    found = embed_rows(load_encoder(folder), tokenize(folder, [text for text, _ in rows]))
    right = (found @ head["weight"].T + head["bias"]).argmax(1)
    return float((right == torch.tensor([card.classes.index(label) for _, label in rows])).float().mean())
