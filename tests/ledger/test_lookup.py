"""The view by name: it says what the log says, grows with it, and is made again when it was dropped or damaged."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.ledger.entries import FeedbackEntry
from tokenworks.ledger.lookup import Lookup
from tokenworks.ledger.writer import Ledger


def feedback(number, request, at, **changes):
    return FeedbackEntry(at=at, feedback_id=f"fb-{number}", request_id=request, **changes)


@pytest.fixture
def log(tmp_path):
    with Ledger(tmp_path / "ledger", "gateway") as ledger:
        yield ledger


def lookup(tmp_path):
    return Lookup(tmp_path / "ledger", tmp_path / "views" / "lookup.db")


def test_what_is_written_later_is_found_too(tmp_path, log, entry):
    view = lookup(tmp_path)
    assert view.request("req-1") is None
    for number in range(3):
        log.append(entry(number))
    assert view.request("req-1") == entry(1)
    log.append(feedback(1, "req-1", 2000.0, rating=-1))
    log.append(feedback(2, "req-1", 1500.0, has_correction=True))
    assert [one.feedback_id for one in view.about("req-1")] == ["fb-2", "fb-1"]
    assert view.feedback("fb-1").rating == -1
    assert view.feedback("fb-9") is None
    assert view.about("req-2") == []


def test_feedback_is_counted_by_task_and_time_whichever_came_first(tmp_path, log, entry):
    log.append(feedback(0, "req-0", 2000.0, has_correction=True))  # before its request, as two writers may leave it
    log.append(entry(0))
    log.append(entry(1, model="mail"))
    log.append(feedback(1, "req-1", 2000.0))
    log.append(feedback(2, "req-0", 3000.0, rating=1))
    log.append(feedback(3, "req-unknown", 3000.0, rating=1))
    view = lookup(tmp_path)
    assert view.count("route", 0.0) == (1, 2)
    assert view.count("route", 2000.0) == (0, 1)
    assert view.count("mail", 0.0) == (0, 1)
    assert [one.feedback_id for one, _ in view.since("", 0.0)] == ["fb-0", "fb-1", "fb-2"]
    assert [asked.request_id for _, asked in view.since("route", 2500.0)] == ["req-0"]
    assert [one.feedback_id for one, _ in view.since("", 0.0, limit=1)] == ["fb-2"]


def test_our_own_judging_is_left_out(tmp_path, log, entry):
    log.append(entry(0, tenant="house"))
    assert lookup(tmp_path).request("req-0") is None


def test_a_dropped_or_damaged_view_is_made_again(tmp_path, log, entry):
    for number in range(10):
        log.append(entry(number))
    first = lookup(tmp_path)
    assert first.catch_up() == 10
    assert first.catch_up() == 0
    first.close()
    path = tmp_path / "views" / "lookup.db"
    for damage in (path.unlink, lambda: path.write_bytes(b"not a database" * 100)):
        damage()
        for left in path.parent.glob("lookup.db-*"):
            left.unlink()
        again = lookup(tmp_path)
        assert again.request("req-7") == entry(7)
        again.close()


def test_a_view_goes_on_where_another_process_left_it(tmp_path, log, entry):
    log.append(entry(0))
    first, second = lookup(tmp_path), lookup(tmp_path)
    assert first.catch_up() == 1
    log.append(entry(1))
    assert second.catch_up() == 1
    assert first.request("req-1") == entry(1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["ask", "say", "look"]), st.integers(0, 5)), max_size=30))
def test_whenever_it_looks_it_says_what_a_scan_of_the_log_says(tmp_path_factory, entry, steps):
    folder = tmp_path_factory.mktemp("lookup")
    with Ledger(folder / "ledger", "gateway", segment_bytes=1 << 16) as log:
        view = lookup(folder)
        asked, said = set(), []
        for number, (what, which) in enumerate(steps):
            if what == "ask" and which not in asked:
                log.append(entry(which))
                asked.add(which)
            elif what == "say":
                log.append(feedback(number, f"req-{which}", float(number), has_correction=which % 2 == 0))
                said.append((which, number))
            else:
                view.catch_up()
        known = [(which, number) for which, number in said if which in asked]
        assert view.count("route", -1.0) == (sum(which % 2 == 0 for which, _ in known), len(known))
        for which in range(6):
            assert (view.request(f"req-{which}") is not None) == (which in asked)
            assert len(view.about(f"req-{which}")) == sum(one == which for one, _ in said)
        view.close()


def test_many_entries_come_in_batches(tmp_path, log, entry, monkeypatch):
    monkeypatch.setattr("tokenworks.ledger.lookup.BATCH", 7)
    for number in range(20):
        log.append(entry(number))
    view = lookup(tmp_path)
    assert view.catch_up() == 20
    assert view.request("req-19") == entry(19)
