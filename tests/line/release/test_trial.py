"""Trials beside the incumbent: begun and ended once, overtaken by people, and never in the way of going back."""

from __future__ import annotations

import threading

import pytest

from tokenworks.core.errors import ConflictError, NotFoundError, RefusedError
from tokenworks.ledger.entries import ReleaseEntry
from tokenworks.ledger.reader import read
from tokenworks.line.release.reconcile import reconcile
from tokenworks.line.release.release import promote, rollback
from tokenworks.line.release.trial import begin_trial, end_trial


def release(shop, version, **given):
    given = {"reason": "gate", "by": "line", "catalog": shop.catalog, "ledger": shop.ledger} | given
    return promote(version.model, version, **given)


def begin(shop, version, **given):
    given = {"share": 0.1, "reason": "gate", "by": "turn", "catalog": shop.catalog, "ledger": shop.ledger} | given
    return begin_trial(version.model, version, **given)


def end(shop, **given):
    given = {"reason": "harm", "by": "turn", "catalog": shop.catalog, "ledger": shop.ledger} | given
    return end_trial("route", **given)


def back(shop):
    return rollback("route", reason="worse", by="operator", catalog=shop.catalog, ledger=shop.ledger)


def steps(shop):
    return [entry.release for _, entry in read(shop.ledger_root) if isinstance(entry, ReleaseEntry)]


def test_a_trial_leaves_the_incumbent_where_it_is(shop):
    release(shop, shop.version(1))
    trial = begin(shop, shop.version(2), share=0.25, mode="shadow")
    current = shop.catalog.releases.current("route")
    assert current == trial
    assert (current.version, current.canary, current.share, current.mode) == (1, 2, 0.25, "shadow")
    over = end(shop)
    assert (over.action, over.version, over.canary, over.share, over.mode) == ("end", 1, 0, 0.0, "")


def test_a_step_with_an_id_is_taken_once_however_often_it_is_asked_for(shop):
    release(shop, shop.version(1))
    for _ in range(2):
        begin(shop, shop.version(2), id="turn-1-canary")
    for _ in range(2):
        end(shop, id="turn-1-end", expect="turn-1-canary")
    for _ in range(2):
        release(shop, shop.version(2), id="turn-1-release", expect="turn-1-end")
    assert [one.action for one in steps(shop)] == ["promote", "canary", "end", "promote"]


def test_what_a_kill_left_in_the_ledger_alone_is_not_written_twice(shop):
    release(shop, shop.version(1))
    first = begin(shop, shop.version(2), id="turn-1-canary")
    shop.catalog.releases.rebuild(steps(shop)[:1])  # as if killed between ledger and catalog
    reconcile(shop.ledger_root, shop.catalog)
    assert begin(shop, shop.version(2), id="turn-1-canary") == first
    assert len(steps(shop)) == 2


def test_a_release_made_by_a_person_meanwhile_is_not_overwritten(shop):
    release(shop, shop.version(1))
    trial = begin(shop, shop.version(2))
    release(shop, shop.version(3), by="kim", reason="I know better")
    for act in (
        lambda: release(shop, shop.version(2), expect=trial.id),
        lambda: end(shop, expect=trial.id),
        lambda: begin(shop, shop.version(2), expect=trial.id),
    ):
        with pytest.raises(ConflictError, match=r"promote of route@3 by kim \(I know better\) is in force"):
            act()
    assert shop.catalog.releases.current("route").version == 3


def test_what_a_kill_left_in_the_ledger_alone_never_comes_over_what_a_person_released_after_it(shop):
    release(shop, shop.version(1))
    begin(shop, shop.version(2), id="turn-1-canary")
    shop.catalog.releases.rebuild(steps(shop)[:1])  # as if killed between ledger and catalog
    release(shop, shop.version(3), by="kim")
    assert reconcile(shop.ledger_root, shop.catalog) == 1
    current = shop.catalog.releases.current("route")
    assert (current.version, current.canary, current.by) == (3, 0, "kim")
    assert shop.catalog.releases.history("route") == steps(shop)


class Slow:
    """A ledger in which somebody else has time to act while an entry is written."""

    def __init__(self, ledger, meanwhile):
        self.ledger, self.meanwhile = ledger, meanwhile

    def append(self, entry):
        self.meanwhile()
        return self.ledger.append(entry)


def test_two_who_release_at_the_same_time_do_it_one_after_the_other(shop):
    release(shop, shop.version(1))
    second, third = shop.version(2), shop.version(3)
    person = threading.Thread(target=lambda: release(shop, third, by="kim"))

    def meanwhile():
        person.start()
        person.join(0.3)  # kim cannot be done before the turn is

    begin(shop, second, ledger=Slow(shop.ledger, meanwhile))
    person.join()
    assert [(one.action, one.version) for one in steps(shop)] == [("promote", 1), ("canary", 1), ("promote", 3)]
    assert shop.catalog.releases.history("route") == steps(shop)


def test_promoting_the_version_on_trial_ends_the_trial(shop):
    release(shop, shop.version(1))
    begin(shop, shop.version(2))
    release(shop, shop.version(2))
    current = shop.catalog.releases.current("route")
    assert (current.version, current.canary) == (2, 0)
    assert back(shop).version == 1


def test_promoting_the_incumbent_ends_the_trial_too(shop):
    release(shop, shop.version(1))
    begin(shop, shop.version(2))
    assert release(shop, shop.version(1)).canary == 0


def test_going_back_during_a_trial_ends_the_trial_and_only_then_goes_back_a_version(shop):
    release(shop, shop.version(1))
    release(shop, shop.version(2))
    begin(shop, shop.version(3))
    assert (back(shop).action, shop.catalog.releases.current("route").version) == ("end", 2)
    assert (back(shop).action, shop.catalog.releases.current("route").version) == ("rollback", 1)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(shop, share):
    release(shop, shop.version(1))
    with pytest.raises(RefusedError, match="is no trial; choose one between 0 and 1"):
        begin(shop, shop.version(2), share=share)


def test_a_trial_needs_something_to_be_compared_with(shop):
    first = shop.version(1)
    with pytest.raises(NotFoundError, match="nothing answers that route@1 could be tried beside"):
        begin(shop, first)
    release(shop, first)
    with pytest.raises(RefusedError, match="route@1 answers already"):
        begin(shop, first)
    with pytest.raises(NotFoundError, match="nothing was ever released"):
        end_trial("nobody", reason="", by="", catalog=shop.catalog, ledger=shop.ledger)
    assert len(steps(shop)) == 1


def test_ending_where_nothing_is_on_trial_changes_nothing(shop):
    first = release(shop, shop.version(1))
    assert end(shop) == first
    assert len(steps(shop)) == 1
