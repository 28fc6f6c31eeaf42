"""A turn's record: kept whole, found again, and never overwritten by a second hand."""

import pytest

from tokenworks.core.errors import ConflictError, NotFoundError
from tokenworks.flywheel.turn.state import Tried, Turns, TurnState


@pytest.fixture
def turns(catalog):
    return Turns(catalog)


def state(task="route", number=1, **changes):
    return TurnState(task=task, number=number, started_at=float(number), until=float(number), **changes)


def test_a_record_comes_back_as_it_was_kept(turns):
    kept = turns.begin(state(tried=(Tried(strategy="sft", weights="w", seconds=1.5),), seconds={"select": 0.5}))
    changed = turns.save(kept, step="gate", says=("because",))
    assert turns.get("route", 1) == changed
    assert changed.says == ("because",)
    assert changed.train_s == 1.5


def test_the_same_turn_is_begun_once(turns):
    turns.begin(state())
    with pytest.raises(ConflictError, match="route/000001 exists"):
        turns.begin(state())


def test_turns_are_listed_in_their_order_whatever_their_clock_said(turns):
    for number in (2, 10, 1):
        turns.begin(state(number=number))
    assert [one.number for one in turns.of("route")] == [1, 2, 10]
    assert turns.last("route").number == 10


def test_a_turn_that_never_was_names_those_there_are(turns):
    with pytest.raises(NotFoundError, match="it never turned"):
        turns.get("route", 1)
    turns.begin(state())
    with pytest.raises(NotFoundError, match="no turn 3; there are 1 to 1"):
        turns.get("route", 3)


def test_without_a_name_the_only_task_that_turned_is_meant(turns):
    with pytest.raises(NotFoundError, match="nothing has turned yet"):
        turns.find()
    turns.begin(state())
    turns.begin(state(number=2))
    assert turns.find().number == 2
    assert turns.find(number=1).number == 1
    turns.begin(state(task="mail"))
    with pytest.raises(NotFoundError, match="name one of mail, route"):
        turns.find()
    assert turns.find("mail").task == "mail"
    with pytest.raises(NotFoundError, match="task nobody never turned"):
        turns.find("nobody")


def test_what_is_open_has_something_left_to_do(turns):
    assert state().open
    assert not state(step="ended").open
