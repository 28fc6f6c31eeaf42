"""`tokenworks report sovereignty` as a person reads it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tokenworks.cli.main import app
from tokenworks.ledger.entries import RequestEntry, Transfer
from tokenworks.ledger.signing import open_key
from tokenworks.ledger.writer import Ledger


def home_with(folder, *entries):
    key = open_key(folder / "keys", folder / "ledger")
    with Ledger(folder / "ledger", "gateway-0", key=key) as ledger:
        for one in entries:
            ledger.append(one)
    return folder


def request(**changes):
    facts = {"at": 1.0, "request_id": "r", "endpoint": "chat.completions", "outcome": "ok", "status": 200}
    return RequestEntry(**facts | changes)


def run(home, *arguments):
    return CliRunner().invoke(app, ["--home", str(home), "report", "sovereignty", "--since", "1970-01-01", *arguments])


def test_that_nothing_left_is_said_first_and_what_proves_it_last(tmp_path):
    home = home_with(tmp_path, request(transfers=(Transfer("route@1", "here", "", "internal", 200, 300),)))
    lines = run(home).output.splitlines()
    assert lines[2] == "NOTHING LEFT THE SITE"
    assert lines[-1].startswith("  gateway-0 0 to 0, of 1 verified; root ")
    assert lines[-1].endswith("signed to 1")


def test_what_left_is_shown_with_label_place_and_bytes(tmp_path):
    home = home_with(tmp_path, request(transfers=(Transfer("cloud", "eu-west", "far:443", "public", 1000, 2000),)))
    output = run(home).output
    assert "LEFT THE SITE: 1000 bytes out, 2000 bytes back" in output
    assert any(line.split()[:4] == ["public", "cloud", "far:443", "eu-west"] for line in output.splitlines())


def test_what_is_unknown_is_called_so_and_ends_with_3(tmp_path):
    done = run(home_with(tmp_path, request(engine="remote", version="remote@0")))
    assert "UNKNOWN: 1 requests went to a remote server before bytes were counted" in done.output
    assert done.exit_code == 3


def test_other_ways_out_are_named_and_json_holds_the_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENWORKS_STORE__ARTIFACTS", "s3://models/house")
    monkeypatch.setenv("TOKENWORKS_STORE__CATALOG", "postgresql+psycopg://somebody:secret@db.example.org/x")
    found = json.loads(run(home_with(tmp_path), "--json").stdout)
    assert found["nothing_left"] is True
    assert found["unmetered"] == [
        "artifacts: s3://models/house at the default endpoint of S3",
        "catalog: postgresql+psycopg at db.example.org",
    ]


@pytest.mark.parametrize("since", ["soon", "30"])
def test_a_moment_that_cannot_be_read_is_named(tmp_path, since):
    done = CliRunner().invoke(app, ["--home", str(tmp_path), "report", "sovereignty", "--since", since])
    assert done.exit_code != 0
    assert since in str(done.exception)
