"""What may be learned from: consent, erasure, age and label."""

from __future__ import annotations

import pytest

from flywheel.select.home import NOW, task_of
from tokenworks.flywheel.select import collect

TASK = task_of()


def test_a_correction_becomes_an_example(home):
    request = home.correct("my parcel is late", "shipping")
    chosen = home.select(TASK)
    (row,) = home.learned(chosen)
    assert (row["text"], row["label"], row["request_id"]) == ("my parcel is late", "shipping", request)
    assert home.rows(chosen.members) == [{"request_id": request}]
    assert chosen.new == 1
    assert chosen.report.feedback == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"learn": False}, "no consent"),
        ({"outcome": "failed", "status": 500}, "not answered"),
        ({"arm": "shadow"}, "not answered"),
        ({"at": NOW - 400 * 86_400}, "older than is kept"),
        ({"label": "restricted"}, "label above the task's"),
    ],
)
def test_a_request_that_may_not_be_learned_from_is_left_out_and_counted(home, changes, reason):
    home.say(home.ask("may this be learned", **changes), "shipping")
    chosen = home.select(TASK)
    assert home.learned(chosen) == []
    assert home.rows(chosen.unlabelled) == []
    assert chosen.report.left_out == {reason: 1}


def test_requests_of_other_tasks_are_not_looked_at(home):
    home.say(home.ask("of another model", model="other"), "shipping")
    home.say("req-that-is-not-in-the-log", "shipping")
    chosen = home.select(TASK)
    assert (chosen.report.requests, chosen.report.feedback, chosen.report.unknown) == (0, 0, 2)


def test_a_pinned_version_of_the_task_is_the_task(home):
    home.correct("asked of a version", "billing", model="route@1")
    assert len(home.learned(home.select(TASK))) == 1


def test_an_erased_request_is_out_even_when_erased_later_than_the_point_looked_at(home):
    request = home.correct("forget this", "shipping")
    home.correct("keep this", "billing")
    home.erase(request_id=request)
    chosen = home.select(TASK)
    assert [row["text"] for row in home.learned(chosen)] == ["keep this"]
    assert chosen.report.left_out == {"erased": 1}


def test_an_erased_user_is_out_with_all_requests_and_all_feedback(home):
    home.correct("forget me", "shipping", user="u1")
    other = home.ask("asked by somebody else", user="u2")
    home.say(other, "billing", user="u1")
    home.correct("keep me", "billing", user="u2")
    home.erase(user="u1")
    chosen = home.select(TASK)
    assert [row["text"] for row in home.learned(chosen)] == ["keep me"]
    assert chosen.report.left_out == {"feedback of an erased user": 2}


def test_the_label_is_the_highest_of_the_requests_selected(home):
    home.correct("an internal one", "shipping", label="internal")
    assert home.select(TASK).label == "internal"
    home.correct("a confidential one", "shipping", label="confidential")
    home.correct("one that is above the task", "shipping", label="restricted")
    assert home.select(TASK).label == "confidential"


def test_later_entries_are_not_seen_and_the_same_call_gives_the_same_artifacts(home):
    home.correct("before", "shipping")
    until = home.clock
    first = home.select(TASK, until=until)
    home.correct("after", "billing")
    assert home.select(TASK, until=until) == first
    assert len(home.learned(home.select(TASK))) == 2


def test_texts_that_were_not_kept_are_counted(home):
    home.say("req-lost", "shipping")
    home.runner.ledger.append(_entry("req-lost", tenant="clinic"))
    chosen = home.select(TASK)
    assert chosen.report.left_out == {"no text kept": 1}


def test_what_another_tenant_says_of_a_request_of_the_same_id_is_no_feedback_on_it(home):
    request = home.correct("my parcel is late", "shipping")
    home.runner.ledger.append(_entry(request, tenant="rival", salt="00", prompt_digest="of another text"))
    home.say(request, "sabotage", tenant="rival")
    chosen = home.select(TASK)
    assert [(row["text"], row["label"]) for row in home.learned(chosen)] == [("my parcel is late", "shipping")]


def test_an_id_that_was_chosen_many_times_is_sampled_once(home, monkeypatch):
    monkeypatch.setattr(collect, "MOST_UNLABELLED", 3)
    for number in range(20):
        home.ask(f"text {number}")
        home.runner.ledger.append(_entry("req-00001", tenant="clinic"))
    assert len(home.rows(home.select(TASK).unlabelled)) <= 3


def test_what_came_since_the_turn_before_is_counted_as_new(home):
    home.correct("old", "shipping")
    since = home.clock
    home.correct("new", "billing")
    chosen = home.select(TASK, since=since)
    assert (chosen.new, len(home.learned(chosen))) == (1, 2)


def test_nothing_at_all_is_a_selection_of_nothing(home):
    chosen = home.select(TASK)
    assert chosen.new == 0
    assert chosen.label == "public"
    assert set(chosen.counts.values()) == {0}
    assert "nothing to learn" in chosen.story()[0]


def _entry(name, **changes):
    from tokenworks.ledger.entries import RequestEntry

    facts = {"endpoint": "classify", "outcome": "ok", "status": 200, "model": "route", **changes}
    return RequestEntry(at=NOW - 5, request_id=name, **facts)
