"""`tokenworks plan` as a person uses it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tokenworks.cli.main import app
from tokenworks.cli.plan import calibration_lines
from tokenworks.factory.planning.here import Here
from tokenworks.planning.batching import Cost
from tokenworks.planning.fitting import Fitted

WORKLOAD = """
model = "qwen3-8b"
labels = { public = 0.5, restricted = 0.5 }
[bought]
machine = "l40s"
[rented]
machine = "h100"
"""


@pytest.fixture
def trace(tmp_path):
    rng = np.random.default_rng(0)
    moments = np.datetime64("2026-01-01T00:00:00", "ms") + np.cumsum(rng.integers(10, 800, 300))
    rows = [f"{one},{rng.integers(50, 900)},{rng.integers(5, 200)}" for one in moments.astype(str)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return path


def run(home, *arguments):
    return CliRunner().invoke(app, ["--home", str(home), "plan", *map(str, arguments)])


def test_the_table_the_advice_and_the_charts(tmp_path, trace):
    (tmp_path / "w.toml").write_text(WORKLOAD)
    done = run(tmp_path, "--trace", trace, "--workload", tmp_path / "w.toml", "--charts", tmp_path / "charts")
    assert done.exit_code == 0, done.output
    assert "qwen3-8b: " in done.output
    for kind in ("this site", "bought      l40s", "rented      h100", "hosted API", "hybrid"):
        assert kind in done.output
    assert "labels permit it for 50% of the requests" in done.output
    assert sorted(path.suffix for path in (tmp_path / "charts").iterdir()) == [".svg", ".svg"]


def test_json_holds_the_same(tmp_path, trace):
    found = json.loads(run(tmp_path, "--trace", trace, "--json").stdout)
    assert [one["kind"] for one in found["options"]] == ["this site", "bought", "rented", "hosted API", "hybrid"]
    assert found["advice"]["lines"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what to plan for"),
        (("--trace", "none.csv", "--from-ledger"), "say what to plan for"),
        (("--trace", "none.csv"), "there is no such file"),
        (("--from-ledger",), "no request was answered with generated tokens"),
    ],
)
def test_what_cannot_be_planned_for_says_what_to_give(tmp_path, arguments, said):
    done = run(tmp_path, *arguments)
    assert said in str(done.exception)


def test_calibrating_nothing_says_what_to_name(tmp_path, trace):
    assert "--engine-model" in str(run(tmp_path, "--trace", trace, "--calibrate").exception)


@pytest.mark.parametrize(("slowed", "said"), [(1.0, False), (1.12, True)])
def test_a_machine_that_does_something_else_meanwhile_is_told_of(slowed, said):
    cost = Cost(step_s=(0.01,) * 33, context_s=(0.0,) * 33, prompt_s=1e-4)
    fitted = Fitted(cost=cost, error=0.02, slowed=slowed)
    lines = calibration_lines(Here(folder="mine", fitted=fitted, context_length=512, most=32), None)
    assert any("12% longer in all" in line for line in lines) == said
