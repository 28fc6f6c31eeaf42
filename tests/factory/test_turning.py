"""A turn from step to step: what waits for a person, what for traffic, and who wins where two decide."""

import contextlib
import shutil
import time

import msgspec
import pytest

from factory.banking import TASK, live, questions, write_rows
from tokenworks.core.errors import ConflictError, RefusedError
from tokenworks.core.files import locked
from tokenworks.core.task import read_task
from tokenworks.factory import Factory
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry, TurnEntry, TurnStepEntry
from tokenworks.ledger.reader import read
from tokenworks.settings import Settings

CANARY = {"share": 0.5, "margin": 0.3, "alpha": 0.1}


@pytest.fixture(scope="module")
def seed(tmp_path_factory, tiny_bert):
    """A home in which `bank@1` answers and has a few hundred corrections to learn from; each test has a copy."""
    folder = tmp_path_factory.mktemp("seed")
    write_rows(folder / "examples.jsonl", questions(30, seed=1))
    (folder / "bank.toml").write_text(TASK.format(base=tiny_bert, autonomy="promote"))
    with Factory(home=folder / "home") as made:
        made.make(read_task(folder / "bank.toml"))
        if made.catalog.releases.current("bank") is None or not made.catalog.releases.current("bank").version:
            made.promote("bank@1", reason="for the test")
        live(made, questions(300, seed=5))
    return folder / "home"


@pytest.fixture
def ready(seed, tmp_path):
    """Return a function that opens a copy of the seed, its task with the terms given for a turn."""
    with contextlib.ExitStack() as opened:

        def make(**turn):
            shutil.copytree(seed, tmp_path / "home", symlinks=True)
            settings = {"home": str(tmp_path / "home"), "server": {"port": 0}, "flywheel": {"look_s": 0}}
            factory = opened.enter_context(Factory(msgspec.convert(settings, Settings)))
            task = factory.task("bank")
            terms = msgspec.convert({**msgspec.to_builtins(task.turn), **turn}, type(task.turn))
            factory.remember(msgspec.structs.replace(task, turn=terms))
            return factory

        yield make


def released(factory):
    return factory.catalog.releases.current("bank").version


def steps(factory):
    found = [entry for _, entry in read(factory.ledger_root) if isinstance(entry, TurnStepEntry)]
    return [entry.step.split()[0] for entry in found]


def trial(factory, right, *, count=400):
    """Let both arms answer; `right` says which share of the candidate's answers is right, in percent."""
    release = factory.catalog.releases.current("bank")
    for number in range(count):
        arm = ("incumbent", "canary")[number % 2]
        good = number % 100 < (right if arm == "canary" else 60)
        version = release.canary if arm == "canary" else release.version
        asked = {"tenant": "default", "key_id": f"key-{number % 30}"}
        factory.ledger.append(
            RequestEntry(
                at=time.time(), request_id=f"live-{release.id}-{number}", endpoint="classify", outcome="ok", status=200,
                model="bank", version=f"bank@{version}", label="internal", latency_s=0.01, arm=arm, **asked,
            )
        )  # fmt: skip
        factory.ledger.append(
            FeedbackEntry(
                at=time.time(), feedback_id=f"fb-{release.id}-{number}", request_id=f"live-{release.id}-{number}",
                rating=1 if good else -1, **asked,
            )
        )  # fmt: skip
    time.sleep(1.1)  # a trial leaves the last second to slower writers


def test_a_proposal_waits_for_a_person_and_is_released_at_a_yes(ready):
    factory = ready(autonomy="propose")
    state = factory.turn("bank")
    assert (state.step, released(factory)) == ("propose", 1)
    assert factory.turn("bank").step == "propose"
    done = factory.decide_turn("bank", approve=True, reason="looks right")
    assert (done.outcome, released(factory)) == ("promoted", 2)
    assert done.approved_by
    (entry,) = [entry for _, entry in read(factory.ledger_root) if isinstance(entry, TurnEntry)]
    assert entry.approved_by == done.approved_by
    assert steps(factory) == ["select", "train", "gate", "propose", "release", "end"]


def test_a_no_leaves_production_as_it_is(ready):
    factory = ready(autonomy="propose")
    factory.turn("bank")
    done = factory.decide_turn("bank", approve=False, reason="not this week")
    assert (done.outcome, released(factory)) == ("declined", 1)
    assert any("not this week" in line for line in factory.turn_story(done))
    with pytest.raises(RefusedError, match="waits for nobody"):
        factory.decide_turn("bank", approve=True, reason="")


def test_live_traffic_promotes_what_is_better(ready):
    factory = ready(canary=CANARY)
    state = factory.turn("bank")
    assert (state.step, released(factory)) == ("canary", 1)
    assert factory.catalog.releases.current("bank").canary == 2
    assert factory.turn("bank").step == "canary"  # no traffic yet: nothing is decided
    trial(factory, right=95)
    done = factory.turn("bank")
    assert (done.outcome, released(factory)) == ("promoted", 2), factory.turn_story(done)
    assert done.live
    assert any("not worse" in line for line in factory.turn_story(done))


def test_live_traffic_rolls_back_what_does_harm(ready):
    factory = ready(canary=CANARY)
    factory.turn("bank")
    trial(factory, right=5)
    done = factory.turn("bank")
    assert (done.outcome, released(factory)) == ("rolled-back", 1), factory.turn_story(done)
    assert factory.catalog.releases.current("bank").canary == 0
    assert factory.turn("bank").outcome in ("unchanged", "need-more", "rejected", "nothing-new")


def test_with_autonomy_canary_a_person_ends_what_traffic_has_won(ready):
    factory = ready(canary=CANARY, autonomy="canary")
    factory.turn("bank")
    trial(factory, right=95)
    assert factory.turn("bank").step == "approve"
    assert released(factory) == 1
    assert factory.decide_turn("bank", approve=True, reason="fine").outcome == "promoted"
    assert released(factory) == 2


def test_a_person_who_releases_during_a_trial_wins(ready):
    factory = ready(canary=CANARY)
    factory.turn("bank")
    factory.promote("bank@1", reason="no experiments today")
    trial_before = factory.catalog.releases.current("bank")
    done = factory.turn("bank")
    assert done.outcome == "overtaken"
    assert factory.catalog.releases.current("bank") == trial_before
    assert "no experiments today" in "".join(factory.turn_story(done)) or steps(factory)[-1] == "end"


def test_a_trial_that_a_person_began_is_ended_at_harm(ready):
    factory = ready(autonomy="propose")
    factory.turn("bank")  # makes bank@2, which waits
    factory.decide_turn("bank", approve=False, reason="try it by hand")
    factory.begin_trial("bank@2", share=0.5, mode="canary", reason="by hand")
    assert factory.guard("bank") is None
    trial(factory, right=5)
    over = factory.guard("bank")
    assert (over.action, over.version, over.canary) == ("end", 1, 0)
    assert "roll-back" in over.reason


def test_one_task_is_turned_by_one_process_at_a_time(ready):
    factory = ready()
    with (
        locked(factory.home / "work" / "turn" / "bank.lock"),
        pytest.raises(ConflictError, match="being turned by another process"),
    ):
        factory.turn("bank")


def test_data_erased_during_a_turn_is_left_out_and_the_turn_goes_on(ready):
    factory = ready(autonomy="propose")
    turner = factory.turner
    state = turner._begin(factory.task("bank"), None, "test", "test")
    from tokenworks.flywheel.turn.workflow import STEPS

    done = STEPS["select"](turner._works, state)
    state = factory.turns.save(state, **done.changes)
    first = state.selection["parts"]["train"]
    factory.artifacts.erase(first, because="er-test")
    gone = [entry.request_id for _, entry in read(factory.ledger_root) if isinstance(entry, RequestEntry)][-5:]
    factory.bodies.erase_requests(gone)
    done = factory.turn("bank")
    assert done.outcome == "" or done.outcome in ("promoted", "need-more", "rejected")
    assert done.selection["parts"]["train"] != first
    assert "select" in steps(factory)


def test_a_teacher_answers_what_nobody_answered(ready):
    factory = ready(candidates=["sft", "distil"], teacher="bank", autonomy="propose")
    live(factory, questions(60, seed=9), corrected=False)
    state = factory.turn("bank")
    by = {one.strategy: one for one in state.tried}
    assert set(by) == {"sft", "distil"}
    assert by["distil"].teacher_answers >= 20, by["distil"].failed
    assert by["distil"].teacher_s > 0
    assert by["distil"].weights != by["sft"].weights
    assert state.engine_s >= by["distil"].teacher_s
    assert any("of the teacher" in line for line in factory.turn_story(state))


def test_a_teacher_that_is_not_there_costs_only_its_own_candidate(ready):
    factory = ready(candidates=["sft", "distil"], teacher="nobody", autonomy="propose")
    live(factory, questions(60, seed=9), corrected=False)
    state = factory.turn("bank")
    by = {one.strategy: one for one in state.tried}
    assert "turn.teacher 'nobody' is not released" in by["distil"].failed
    assert by["sft"].weights
    assert state.step == "propose" or state.outcome in ("need-more", "rejected")
