"""The ledger as the trial sees it."""

import pytest

from tokenworks.core.errors import DataError
from tokenworks.flywheel.trial.terms import Terms
from tokenworks.flywheel.trial.verdicts import success_of
from tokenworks.flywheel.trial.watch import Watch
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.writer import Ledger

TERMS = Terms(trial="r1", incumbent="m@1", candidate="m@2", began_at=100.0, share=0.5, margin=0.1, slow_s=1.0)
LATE = 1e6


def request(number, side, **changes):
    known = {"at": 100.0 + number, "request_id": f"q{number}", "endpoint": "classify", "outcome": "ok", "status": 200}
    version = {"incumbent": "m@1", "canary": "m@2", "shadow": "m@2"}[side]
    return RequestEntry(**{**known, "model": "m", "version": version, "arm": side, "latency_s": 0.1, **changes})


def feedback(number, **changes):
    known = {"at": 100.5 + number, "feedback_id": f"f{number}", "request_id": f"q{number}", "key_id": "k"}
    return FeedbackEntry(**{**known, **changes})


def write(root, entries):
    with Ledger(root, "w") as ledger:
        for entry in entries:
            ledger.append(entry)


def quality(watch):
    monitor = watch.trial.monitors["quality"]
    return monitor.incumbent.units, monitor.incumbent.total, monitor.candidate.units, monitor.candidate.total


@pytest.mark.parametrize(
    ("said", "success"),
    [
        ({"rating": 1}, 1.0),
        ({"rating": -1}, 0.0),
        ({"rating": 0}, None),
        ({"outcome": 0.25, "rating": 1}, 0.25),
        ({"outcome": float("nan")}, None),
        ({"signal": "accepted"}, 1.0),
        ({"signal": "regenerated"}, 0.0),
        ({"has_correction": True}, 1.0),
        ({"has_correction": True, "request_id": "other"}, 0.0),
        ({"has_correction": True, "request_id": "forgotten"}, 0.0),
        ({}, None),
    ],
)
def test_what_feedback_says_of_an_answer(said, success):
    answers = {"q1": "the  right one", "other": "a wrong one"}
    assert success_of(feedback(1, **said), answers.get, lambda _: "the right one") == success


def test_requests_and_verdicts_of_the_trial_count_and_nothing_else(tmp_path):
    write(
        tmp_path,
        [
            request(1, "incumbent"),
            feedback(1, rating=1),
            request(2, "canary"),
            feedback(2, rating=-1),
            feedback(2, rating=1, feedback_id="f2b"),  # a change of mind
            request(3, "canary", model="m@2"),  # asked for by number
            feedback(3, rating=-1),
            request(4, "canary", version="m@7"),  # an earlier trial's
            request(5, "incumbent", arm=""),
            feedback(99, rating=-1),  # of a request that nobody knows
            request(6, "canary", outcome="refused"),
            request(7, "canary", outcome="failed", version=""),
        ],
    )
    watch = Watch(tmp_path, TERMS, alias="m")
    watch.advance(LATE)
    assert quality(watch) == (1, 0.0, 1, 1.0)
    assert watch.trial.monitors["failures"].candidate.total == 1
    assert watch.trial.monitors["failures"].candidate.units == 2


def test_requests_before_the_trial_do_not_count(tmp_path):
    write(tmp_path, [request(-50, "canary"), feedback(-50, rating=-1)])
    watch = Watch(tmp_path, TERMS, alias="m")
    watch.advance(LATE)
    assert quality(watch) == (0, 0.0, 0, 0.0)


def traffic(n):
    for i in range(n):
        yield request(i, "canary" if i % 2 else "incumbent", user=f"u{i % 40}", conversation="c")
        yield feedback(i, rating=1 if i % 5 else -1)


def test_a_killed_watch_comes_to_the_same_trial_by_either_way(tmp_path):
    entries = list(traffic(100))
    whole, broken = Watch(tmp_path, TERMS, alias="m"), Watch(tmp_path, TERMS, alias="m")
    with Ledger(tmp_path, "w") as ledger:
        for number, entry in enumerate(entries):
            ledger.append(entry)
            if number % 60 == 0:
                broken.advance(entry.at + 1.0)
                broken = Watch.from_bytes(broken.to_bytes(), tmp_path)
    broken.advance(5000.0)
    whole.advance(5000.0)
    assert broken.trial.report() == whole.trial.report()
    assert whole.trial.monitors["quality"].candidate.units == 20
    with pytest.raises(DataError, match="begin anew"):
        Watch.from_bytes(b"junk", tmp_path)


def test_the_youngest_entries_wait_for_what_other_writers_may_still_say(tmp_path):
    write(tmp_path, [request(1, "canary")])
    watch = Watch(tmp_path, TERMS, alias="m")
    watch.advance(101.5)
    assert not watch.trial.monitors["failures"].candidate.units
    watch.advance(102.5)
    assert watch.trial.monitors["failures"].candidate.units == 1


def test_a_correction_scores_the_answer_that_a_shadow_gave_to_nobody(tmp_path):
    shadow = Terms(trial="r1", incumbent="m@1", candidate="m@2", began_at=100.0, share=1.0, mode="shadow")
    entries = []
    for i in range(60):
        who = {"user": f"u{i}"}
        entries += [request(i, "incumbent", **who), request(i, "shadow", request_id=f"q{i}-shadow", **who)]
        entries += [feedback(i, has_correction=True)] if i % 2 else [feedback(i, rating=-1)]
    write(tmp_path, entries)
    answers = {f"q{i}": "right" for i in range(60)} | {f"q{i}-shadow": "wrong" for i in range(60)}
    watch = Watch(tmp_path, shadow, alias="m", answer_of=answers.get, correction_of=lambda _: "right")
    assert watch.advance(LATE).decision == "roll-back"
    assert watch.trial.monitors["quality"].rate("candidate") == 1.0


def test_an_end_of_time_ends_a_trial_of_which_the_ledger_says_nothing(tmp_path):
    watch = Watch(tmp_path, TERMS, alias="m")
    assert watch.advance(200.0).decision == ""
    assert watch.advance(LATE).decision == "undecided"
