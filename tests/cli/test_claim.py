"""`tokenworks claim` where nothing needs to be asked."""

from __future__ import annotations

from typer.testing import CliRunner

from tokenworks.cli.main import app
from tokenworks.planning.claims.claim import read_claim


def run(home, *arguments):
    return CliRunner().invoke(app, ["--home", str(home), "claim", *map(str, arguments)])


def test_the_file_to_fill_in_is_a_whole_claim(tmp_path):
    (tmp_path / "claim.toml").write_text(run(tmp_path, "show").output)
    assert read_claim(tmp_path / "claim.toml").conditions.machine == "h100"


def test_missing_conditions_are_named_before_anybody_is_asked(tmp_path):
    text = run(tmp_path, "show").output.replace("concurrency = 64\n", "")
    (tmp_path / "claim.toml").write_text(text)
    assert "[conditions] lacks concurrency" in str(run(tmp_path, "check", tmp_path / "claim.toml").exception)


def test_a_server_that_is_not_there_is_an_error_and_no_verdict(tmp_path):
    text = run(tmp_path, "show").output.replace(":8000", ":9")
    (tmp_path / "claim.toml").write_text(text)
    done = run(tmp_path, "check", tmp_path / "claim.toml", "--out", tmp_path / "report.md")
    assert "cannot be reached" in str(done.exception)
    assert not (tmp_path / "report.md").exists()
