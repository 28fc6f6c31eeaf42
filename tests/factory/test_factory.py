"""The line for one task, from examples to a release, and what it refuses."""

import msgspec
import pytest

from factory.banking import questions
from tokenworks.core.errors import NotFoundError, RefusedError
from tokenworks.ledger.entries import ModelEntry, ReleaseEntry, RequestEntry, StageEntry
from tokenworks.ledger.reader import read
from tokenworks.line.events import Finished, Said
from tokenworks.line.release.inspect import verify_folder


def sabotaged(rows):
    """Give every row the label of another kind of question."""
    names = sorted({row["label"] for row in rows})
    return [{**row, "label": names[(names.index(row["label"]) + 1) % len(names)]} for row in rows]


def test_a_first_model_that_beats_its_baselines_is_released_sealed_and_on_the_ledger(factory, bank):
    outcome = factory.make(bank(questions(240)))
    assert (outcome.decision, outcome.released, outcome.version.ref) == ("promote", True, "bank@1")
    verify_folder(factory.artifacts.folder(outcome.version.folder), factory.key.public)
    entries = [entry for _, entry in read(factory.ledger_root)]
    kinds = {kind: sum(isinstance(entry, kind) for entry in entries) for kind in (StageEntry, ModelEntry, ReleaseEntry)}
    assert kinds == {StageEntry: 4, ModelEntry: 1, ReleaseEntry: 1}


def test_judging_goes_through_the_same_request_path_as_everybody(factory, bank):
    factory.make(bank(questions(240)))
    asked = [entry for _, entry in read(factory.ledger_root) if isinstance(entry, RequestEntry)]
    assert len(asked) > 50
    assert {(entry.tenant, entry.key_id, entry.outcome) for entry in asked} == {("house", "evaluation", "ok")}


def test_made_again_with_nothing_changed_nothing_is_done_and_nothing_is_released(factory, bank):
    task = bank(questions(240))
    first = factory.make(task)
    events = []
    again = factory.listening(events.append).make(task)
    assert again.decision == "unchanged"
    assert again.version == first.version
    assert all(event.hit for event in events if isinstance(event, Finished))
    assert len(factory.catalog.releases.history("bank")) == 1


def test_a_candidate_trained_on_wrong_labels_is_refused_and_production_stays(factory, bank, tmp_path):
    good = questions(240)
    write = bank(good)
    first = factory.make(write)
    (tmp_path / "gold.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(questions(120, seed=9)))
    task = bank(sabotaged(good))
    check = msgspec.structs.replace(task.check, gold="gold.jsonl")
    bad = factory.make(msgspec.structs.replace(task, check=check))
    assert bad.decision == "reject"
    assert not bad.released
    assert factory.catalog.releases.current("bank").version == first.version.version
    assert factory.verdict(bad.verdict).reasons


def test_a_task_without_an_owner_is_refused_before_anything_runs(factory, bank):
    with pytest.raises(RefusedError, match=r'task bank has no owner.*task\.owner = "mailto:'):
        factory.make(bank(questions(240), owner=""))
    assert factory.catalog.stages.of("bank") == []


def test_with_autonomy_propose_a_person_releases(factory, bank):
    outcome = factory.make(bank(questions(240), autonomy="propose"))
    assert (outcome.decision, outcome.released) == ("promote", False)
    assert factory.catalog.releases.current("bank") is None
    release = factory.promote("bank@1", reason="looked at it")
    assert (release.version, release.reason) == (1, "looked at it")


def test_what_was_released_can_be_rolled_back_and_withdrawn_with_its_history_kept(factory, bank):
    factory.make(bank(questions(240)))
    task = bank(questions(300))
    second = factory.make(task)
    if not second.released:
        factory.promote(second.version.ref, reason="for the test")
    assert factory.rollback("bank", reason="a complaint").version == 1
    assert factory.withdraw("bank", reason="the project ended").version == 0
    actions = [release.action for release in factory.catalog.releases.history("bank")]
    assert actions[-2:] == ["rollback", "withdraw"]
    with pytest.raises(NotFoundError, match="nothing is released as 'bank'"):
        factory.version("bank")


def test_lineage_and_report_lead_back_to_the_examples(factory, bank):
    outcome = factory.make(bank(questions(240)))
    _, text = factory.lineage("bank")
    assert "train.classify" in text
    assert "examples" in text
    (made,) = factory.report().models
    assert made.weights == outcome.weights
    assert made.figure == factory.evaluate("bank").headline


def test_the_forecast_names_what_will_be_read_and_learns_from_what_was_measured(factory, bank):
    task = bank(questions(240))
    before = factory.forecast(task)
    assert (before.files, before.examples) == (1, 240)
    assert "measured here" not in {stage.basis for stage in before.stages}
    factory.make(task)
    assert {stage.basis for stage in factory.forecast(task).stages} == {"measured here"}


def test_the_verdict_is_told_while_it_happens(factory, bank):
    events = []
    factory.listening(events.append).make(bank(questions(240)))
    told = [event.text for event in events if isinstance(event, Said)]
    assert any(text.startswith("gate: PROMOTE") for text in told)
    assert told[-1] == "released bank@1"
