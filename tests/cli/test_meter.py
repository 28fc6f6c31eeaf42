"""`tokenworks meter`, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from tokenworks.cli.main import app


def meter(home: Path, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(home), "--json", "meter", *arguments], env=environ)


def test_show_says_of_each_kind_why_it_is_not_there_and_what_the_configured_one_says(tmp_path: Path) -> None:
    model = {
        "TOKENWORKS_METER__SOURCE": "model",
        "TOKENWORKS_METER__IDLE_W": "20",
        "TOKENWORKS_METER__BUSY_W": "65",
        "TOKENWORKS_METER__POWERCAP": str(tmp_path),
    }
    done = meter(tmp_path, "show", "--seconds", "0.3", **model)
    found = json.loads(done.stdout)
    kinds = {one["source"]: one for one in found["sources"]}
    assert kinds["model"]["configured"]
    assert kinds["model"]["says"].startswith("yes: idle, processors; grade model")
    assert "has no RAPL package" in kinds["rapl"]["says"]
    assert 20 <= found["watts"] <= 75
    assert found["grade"] == "model"


def test_powers_read_off_a_plug_are_kept_and_used(tmp_path: Path) -> None:
    done = meter(tmp_path, "calibrate", "--idle-w", "31.5", "--busy-w", "88")
    assert json.loads(done.stdout)["meter"] == "hand"
    shown = json.loads(meter(tmp_path, "show", "--seconds", "0.2", TOKENWORKS_METER__SOURCE="model").stdout)
    assert 31 <= shown["watts"] <= 100


def test_what_cannot_be_measured_is_refused_with_the_way_out(tmp_path: Path) -> None:
    done = meter(tmp_path, "calibrate")
    assert "give --idle-w and --busy-w" in str(done.exception)
    done = meter(tmp_path, "calibrate", "--idle-w", "50", "--busy-w", "40")
    assert "the second above the first" in str(done.exception)
