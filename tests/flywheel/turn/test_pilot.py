"""What a server's flywheels ask for: nothing without a release, one thing at a time, and never for a person."""

import msgspec
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.core.model import ModelVersion, Release
from tokenworks.core.task import Task
from tokenworks.flywheel.turn.pilot import wanted
from tokenworks.flywheel.turn.state import Turns, TurnState
from tokenworks.store.nouns import CatalogTask, Object


def know(catalog, name="route", when="3 new corrections", released=True):
    spec = {"task": {"name": name, "kind": "classify", "owner": "mailto:a@example.org"}, "turn": {"when": when}}
    task = msgspec.convert(spec, Task)
    owner = task.task.owner
    catalog.tasks.put(CatalogTask(name=name, kind="classify", owner=owner, spec=msgspec.to_builtins(task)))
    version = ModelVersion(
        model=name, version=0, folder="f" * 64, kind="classify", label="internal", licence="", owner=owner,
        base="minilm", stage_key="k", evaluation="",
    )  # fmt: skip
    number = catalog.models.add(version).version
    if released:
        release = Release(
            id=f"r-{name}", alias=name, model=name, version=number, action="promote", reason="", by="", at=50.0
        )
        catalog.releases.apply(release)


def asks(catalog, corrections=0, feedback=0, now=1000.0):
    seen = []

    def count(task, since):
        seen.append((task, since))
        return corrections, feedback

    return wanted(catalog, count, now=now), seen


def test_enough_corrections_make_a_task_turn_and_the_reason_says_how_many(catalog):
    know(catalog)
    assert asks(catalog, corrections=2)[0] == []
    (one,), seen = asks(catalog, corrections=3)
    assert (one.task, one.action, one.reason) == ("route", "turn", "3 new corrections, 3 are enough")
    assert seen == [("route", 0.0)]


def test_a_task_without_a_release_has_nothing_to_improve(catalog):
    know(catalog, released=False)
    assert asks(catalog, corrections=100)[0] == []


def test_only_what_came_after_the_last_turn_counts(catalog):
    know(catalog)
    Turns(catalog).begin(TurnState(task="route", number=1, step="ended", started_at=100.0, until=100.0))
    assert asks(catalog, corrections=3)[1] == [("route", 100.0)]


@pytest.mark.parametrize(("step", "action"), [("train", "go-on"), ("gate", "go-on"), ("canary", "look")])
def test_an_open_turn_goes_on_before_another_begins(catalog, step, action):
    know(catalog)
    Turns(catalog).begin(TurnState(task="route", number=1, step=step, started_at=100.0, until=100.0))
    (one,), _ = asks(catalog, corrections=1000)
    assert one.action == action


@pytest.mark.parametrize("step", ["propose", "approve"])
def test_a_turn_that_waits_for_a_person_is_left_to_that_person(catalog, step):
    know(catalog)
    Turns(catalog).begin(TurnState(task="route", number=1, step=step, started_at=100.0, until=100.0))
    assert asks(catalog, corrections=1000)[0] == []


def test_an_erasure_is_due_at_once_but_not_again_after_a_turn_that_tried(catalog):
    know(catalog, when="never")
    due = Object(kind="due", id="route", scope="route", body={"reason": "erased: route@1"}, created_at=200.0)
    catalog.objects.add(due)
    (one,), _ = asks(catalog)
    assert one.reason == "erased: route@1"
    Turns(catalog).begin(TurnState(task="route", number=1, step="ended", started_at=300.0, until=300.0))
    assert asks(catalog)[0] == []


def test_a_schedule_needs_something_new(catalog):
    know(catalog, when="10m")
    assert asks(catalog, feedback=0)[0] == []
    assert asks(catalog, feedback=1)[0][0].action == "turn"
    assert asks(catalog, feedback=1, now=100.0)[0] == []


def test_a_condition_that_cannot_be_read_names_its_task(catalog):
    know(catalog, when="often")
    with pytest.raises(ConfigError, match=r"task route: turn\.when: 'often'"):
        asks(catalog)
