"""Feedback without a server: the same checks and entries as over HTTP, and a file may be imported twice."""

import json

import pytest
from typer.testing import CliRunner

from tokenworks.cli.main import app
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.ids import pseudonym
from tokenworks.governance.opinions import NotTakenError
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.reader import read


@pytest.fixture
def asked(factory):
    """Three answered requests of two models."""
    for name, model in (("req-1", "bank"), ("req-2", "bank"), ("req-3", "mail")):
        entry = RequestEntry(
            at=1.0, request_id=name, endpoint="classify", outcome="ok", status=200, tenant="acme", model=model,
            version=f"{model}@1",
        )  # fmt: skip
        factory.ledger.append(entry)
    return factory


def given(factory):
    return [entry for _, entry in read(factory.ledger_root) if isinstance(entry, FeedbackEntry)]


def test_an_opinion_is_written_once_for_the_tenant_that_asked(asked):
    said = {"request_id": "req-1", "correction": "cards", "user": "kim"}
    first = asked.desk.take(said)
    assert asked.desk.take(said) == first
    (entry,) = given(asked)
    assert (entry.tenant, entry.user, entry.has_correction) == ("acme", pseudonym("acme", "kim"), True)
    assert entry.key_id.startswith("cli/")
    assert asked.bodies.get_correction(first["id"]) == "cards"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"request_id": "req-1"}, "there is nothing in this feedback"),
        ({"request_id": "req-9", "rating": 1}, "is not known here"),
        ({"request_id": "req-1", "preferred_over": "req-1"}, "preferred over itself"),
        ({"request_id": "req-1", "preferred_over": "req-3"}, "'bank' and of 'mail' cannot be compared"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_way_out(asked, said, why):
    with pytest.raises(NotTakenError, match=why):
        asked.desk.take(said)
    assert given(asked) == []


def test_a_field_that_cannot_be_meant_is_named(asked):
    with pytest.raises(ConfigError, match=r"rating"):
        asked.desk.take({"request_id": "req-1", "rating": 5})


def test_an_erased_request_is_over(asked):
    asked.bodies.erase_requests(["req-1"])
    with pytest.raises(NotTakenError, match="was erased"):
        asked.desk.take({"request_id": "req-1", "rating": 1})


def test_a_file_is_taken_line_by_line_and_taken_again_changes_nothing(asked, tmp_path):
    lines = [
        {"request_id": "req-1", "outcome": 1},
        {"request_id": "req-9", "outcome": 0},
        {"request_id": "req-2", "signal": "accepted"},
    ]
    file = tmp_path / "outcomes.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    for _ in range(2):
        results = dict(asked.desk.take_file(file))
        assert [isinstance(results[number], str) for number in (1, 2, 3)] == [False, True, False]
    assert len(given(asked)) == 2
    file.write_text("{nonsense")
    with pytest.raises(DataError, match=r"outcomes\.jsonl line 1"):
        list(asked.desk.take_file(file))
    with pytest.raises(ConfigError, match="is no file"):
        list(asked.desk.take_file(tmp_path / "nowhere"))


def test_the_command_gives_and_lists(asked, tmp_path):
    asked.close()
    home = ["--home", str(asked.home)]
    run = CliRunner().invoke
    done = run(app, [*home, "feedback", "add", "req-1", "--rating", "-1", "--correction", "access"])
    assert done.exit_code == 0, done.output
    assert "on req-1" in done.output
    shown = run(app, [*home, "feedback", "list", "--task", "bank"]).output
    assert "correction, rating -1" in shown
    assert "bank@1" in shown
    (tmp_path / "more.jsonl").write_text('{"request_id":"req-2","rating":1}\n{"request_id":"nobody","rating":1}\n')
    imported = run(app, [*home, "feedback", "import", str(tmp_path / "more.jsonl")])
    assert imported.exit_code == 1
    assert "1 taken, 1 refused" in imported.output
