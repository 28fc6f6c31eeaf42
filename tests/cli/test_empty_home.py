"""On a home in which nothing has happened yet, a command says so and what to do next."""

import json

import pytest
from typer.testing import CliRunner

from tokenworks.cli.columns import columns, listed
from tokenworks.cli.main import app
from tokenworks.core.errors import ConfigError


def asked(home, *words):
    return CliRunner().invoke(app, ["--home", str(home), *words], catch_exceptions=True)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("report", "tokenworks up"),
        ("release show", "tokenworks train FILE"),
        ("key list", "tokenworks key new"),
        ("tenant list", "tokenworks tenant new"),
        ("person list", "tokenworks person new"),
        ("grant list", "tokenworks grant new"),
        ("limit list", "tokenworks limit set"),
        ("task show", "tokenworks task new"),
        ("turn list", "tokenworks turn TASK"),
    ],
)
def test_a_list_of_nothing_says_how_to_begin(tmp_path, command, hint):
    done = asked(tmp_path, *command.split())
    assert done.exit_code == 0
    assert hint in done.stdout
    assert asked(tmp_path, "--json", *command.split()).stdout.strip()[0] in "[{"


def test_the_tail_of_an_empty_ledger_is_empty_and_says_so_apart(tmp_path):
    done = asked(tmp_path, "ledger", "tail")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing has happened" in done.stderr


def test_an_instant_that_is_none_is_refused(tmp_path):
    done = asked(tmp_path, "release", "show", "--at", "march")
    assert isinstance(done.exception, ConfigError)
    assert "2026-03-03T12:00" in str(done.exception)


def test_an_unknown_task_is_told_where_to_go(tmp_path):
    assert "tokenworks train FILE" in str(asked(tmp_path, "task", "show", "nobody").exception)


@pytest.mark.parametrize("name", ["Billing", "../away", "two words", ""])
def test_a_task_that_could_not_be_checked_is_not_begun(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    done = asked(tmp_path / "home", "task", "new", name)
    assert "1-63 of a-z" in str(done.exception)
    assert not list(tmp_path.glob("*.toml"))


def test_a_new_task_loads_whoever_owns_it(tmp_path, monkeypatch):
    from tokenworks.core.task import read_task

    monkeypatch.chdir(tmp_path)
    assert asked(tmp_path / "home", "task", "new", "mine", "--owner", 'Ada "the first" \\').exit_code == 0
    assert read_task(tmp_path / "mine.toml").task.owner == 'Ada "the first" \\'


def test_a_failed_command_prints_no_empty_line_before_its_error(tmp_path):
    done = asked(tmp_path, "turn", "nobody")
    assert done.stdout == ""


def test_columns_are_as_wide_as_what_is_in_them():
    lines = columns(("whose", "spent", "limit"), [("a tenant with a long name", 7, "x"), ("b", 1200, "y")]).splitlines()
    assert lines == [
        "whose                      spent  limit",
        "a tenant with a long name      7  x",
        "b" + " " * 27 + "1200  y",
    ]


def test_a_position_reads_as_it_is_typed():
    from tokenworks.ledger.position import Position

    assert f"{Position('gateway-0', 7)}" == "gateway-0:7"


def test_what_callers_named_cannot_steer_a_terminal():
    assert "\x1b" not in listed(("name",), [("\x1b[2Jred",)], none="")


def test_entries_with_escape_sequences_are_shown_as_signs(tmp_path):
    from tokenworks.cli.context import Context
    from tokenworks.cli.ledger import _line
    from tokenworks.ledger.entries import RequestEntry

    entry = RequestEntry(at=0.0, request_id="r", endpoint="x", outcome="refused", status=404, model="\x1b[2J")
    assert "\x1b" not in _line(Context(), "w:0", entry)
    assert json.loads(_line(Context(as_json=True), "w:0", entry))["model"] == "\x1b[2J"
