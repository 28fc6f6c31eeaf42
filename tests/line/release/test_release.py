from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clocks import Hands
from tokenworks.core.errors import NotFoundError, RefusedError, StoreError
from tokenworks.ledger.entries import ModelEntry, ReleaseEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger
from tokenworks.line.release.reconcile import reconcile
from tokenworks.line.release.release import at, history, promote, rollback, withdraw
from tokenworks.store.catalog import open_catalog
from tokenworks.store.nouns import CatalogTask


def _day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _promote(shop, version, **given):
    given = {"reason": "gate", "by": "line", "catalog": shop.catalog, "ledger": shop.ledger} | given
    return promote(version.model, version, **given)


def _rollback(shop, alias: str = "route", **given):
    return rollback(alias, reason="worse", by="operator", catalog=shop.catalog, ledger=shop.ledger, **given)


def _withdraw(shop, alias: str = "route", **given):
    return withdraw(alias, reason="incident", by="operator", catalog=shop.catalog, ledger=shop.ledger, **given)


def _steps(shop) -> list:
    return [entry.release for _, entry in read(shop.ledger_root) if isinstance(entry, ReleaseEntry)]


def test_a_promotion_is_in_the_ledger_and_in_force(shop):
    version = shop.version(1)
    step = _promote(shop, version, evidence="f" * 64)
    assert shop.catalog.releases.current("route") == step
    assert _steps(shop) == [step]
    assert (step.action, step.version, step.evidence, step.reason, step.by) == ("promote", 1, "f" * 64, "gate", "line")


def test_promoting_what_answers_already_writes_nothing(shop):
    version = shop.version(1)
    first = _promote(shop, version)
    assert _promote(shop, version, reason="again") == first
    assert len(_steps(shop)) == 1


def test_rolling_back_goes_one_step_back_each_time(shop):
    for seed in (1, 2, 3):
        _promote(shop, shop.version(seed))
    assert [_rollback(shop).version, _rollback(shop).version] == [2, 1]
    with pytest.raises(RefusedError, match=r"alias route: there is no version before route@1"):
        _rollback(shop)
    assert [step.action for step in history("route", catalog=shop.catalog)] == ["promote"] * 3 + ["rollback"] * 2


def test_after_a_rollback_a_new_version_goes_on_from_there(shop):
    versions = [shop.version(seed) for seed in (1, 2, 3)]
    _promote(shop, versions[0])
    _promote(shop, versions[1])
    _rollback(shop)
    _promote(shop, versions[2])
    assert _rollback(shop).version == 1  # version 2 was taken back and stays so


def test_a_rollback_carries_the_evidence_of_the_version_it_returns_to(shop):
    _promote(shop, shop.version(1), evidence="1" * 64)
    _promote(shop, shop.version(2), evidence="2" * 64)
    assert _rollback(shop).evidence == "1" * 64


def test_after_a_withdrawal_nothing_answers_until_it_is_rolled_back(shop):
    _promote(shop, shop.version(1))
    assert _withdraw(shop).version == 0
    assert _withdraw(shop).version == 0
    assert len(_steps(shop)) == 2
    assert _rollback(shop).version == 1


def test_rolling_back_over_a_withdrawal_is_refused_with_its_reason(shop):
    _promote(shop, shop.version(1))
    _withdraw(shop)
    _promote(shop, shop.version(2))
    with pytest.raises(RefusedError, match=r"before route@2 it was withdrawn \(incident\)"):
        _rollback(shop)


def test_an_alias_that_was_never_released_can_be_neither_rolled_back_nor_withdrawn(shop):
    with pytest.raises(NotFoundError, match="alias route: nothing was ever released"):
        _rollback(shop)
    with pytest.raises(NotFoundError, match="alias route: nothing was ever released"):
        _withdraw(shop)


def test_a_task_without_an_owner_is_refused_and_nothing_is_written(shop):
    version = shop.version(1)
    shop.catalog.tasks.put(CatalogTask(name="route", kind="classify"))  # the owner was taken out of the file
    with pytest.raises(RefusedError, match=r"route.*own"):
        _promote(shop, version)
    assert _steps(shop) == []
    assert shop.catalog.releases.current("route") is None


def test_which_model_was_in_production_on_the_third_of_march_and_why(shop):
    clock = Hands(_day("2026-02-01"))
    _promote(shop, shop.version(1), reason="first", clock=clock)
    clock.at = _day("2026-03-01")
    _promote(shop, shop.version(2), reason="accuracy +2.1 %", evidence="2" * 64, clock=clock)
    clock.at = _day("2026-03-05")
    _rollback(shop, clock=clock)
    found = at("route", _day("2026-03-03"), catalog=shop.catalog)
    assert found is not None
    assert (found.version, found.reason, found.evidence) == (2, "accuracy +2.1 %", "2" * 64)
    assert at("route", _day("2026-01-01"), catalog=shop.catalog) is None
    after = at("route", _day("2026-03-06"), catalog=shop.catalog)
    assert after is not None
    assert (after.version, after.reason) == (1, "worse")


def test_a_clock_that_was_set_back_does_not_reorder_history(shop):
    clock = Hands(2000.0)
    _promote(shop, shop.version(1), clock=clock)
    clock.at = 1000.0
    second = _promote(shop, shop.version(2), clock=clock)
    assert second.at > 2000.0
    assert shop.catalog.releases.current("route") == second


def test_aliases_do_not_disturb_each_other(shop):
    _promote(shop, shop.version(1, model="route"))
    _promote(shop, shop.version(2, model="complete"))
    _withdraw(shop, "complete")
    current = shop.catalog.releases.current("route")
    assert current is not None
    assert current.version == 1


_KILLED = """
import os, sys
from pathlib import Path
from tokenworks.ledger.writer import Ledger
from tokenworks.line.release.release import promote
from tokenworks.store.catalog import open_catalog
from tokenworks.store.releases import Alone
home = Path(sys.argv[1])
catalog = open_catalog(f"sqlite:///{home / 'catalog.db'}")
applied = Alone.apply
def killed(self, release):
    if sys.argv[2] == "after":
        applied(self, release)  # not committed
    os.kill(os.getpid(), 9)
Alone.apply = killed
promote("route", catalog.models.get("route", 2), reason="gate", by="line", catalog=catalog,
        ledger=Ledger(home / "ledger", "killed"))
"""


def _promote_and_die(shop, when: str = "before") -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(shop.home), when], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_release_killed_between_ledger_and_catalog_is_finished_at_the_next_start(shop, when):
    _promote(shop, shop.version(1))
    shop.version(2)
    _promote_and_die(shop, when)
    assert shop.catalog.releases.current("route").version == 1
    assert reconcile(shop.ledger_root, shop.catalog) == 1
    assert shop.catalog.releases.current("route").version == 2
    assert shop.catalog.releases.history("route") == _steps(shop)
    assert reconcile(shop.ledger_root, shop.catalog) == 0


def test_a_lost_catalog_gets_its_releases_back_from_the_ledger_alone(shop, tmp_path: Path):
    for seed in (1, 2):
        _promote(shop, shop.version(seed))
    _rollback(shop)
    with open_catalog(f"sqlite:///{tmp_path / 'new.db'}") as empty:
        assert reconcile(shop.ledger_root, empty) == 3
        assert empty.releases.history("route") == shop.catalog.releases.history("route")


def test_a_version_that_a_kill_kept_out_of_the_ledger_is_entered_at_the_next_start(shop):
    version = shop.version(1)
    lost = shop.catalog.models.add(_renamed(version, "complete"))
    assert reconcile(shop.ledger_root, shop.catalog, ledger=shop.ledger) == 1
    entered = [e for _, e in read(shop.ledger_root) if isinstance(e, ModelEntry)]
    assert [(e.model, e.version) for e in entered] == [("route", 1), ("complete", lost.version)]
    assert reconcile(shop.ledger_root, shop.catalog, ledger=shop.ledger) == 0


def _renamed(version, model: str):
    import msgspec

    return msgspec.structs.replace(version, model=model, version=0)


def test_with_a_cursor_the_ledger_is_read_once_and_nothing_is_missed(shop, monkeypatch):
    cursor = shop.home / "reconciled.json"
    _promote(shop, shop.version(1))
    shop.version(2)
    assert reconcile(shop.ledger_root, shop.catalog, ledger=shop.ledger, cursor=cursor) == 0
    _promote_and_die(shop)
    assert reconcile(shop.ledger_root, shop.catalog, ledger=shop.ledger, cursor=cursor) == 1
    assert reconcile(shop.ledger_root, shop.catalog, ledger=shop.ledger, cursor=cursor) == 0
    cursor.write_text("damaged")
    assert reconcile(shop.ledger_root, shop.catalog, ledger=shop.ledger, cursor=cursor) == 0


def test_a_cursor_is_not_believed_by_a_new_catalog(shop, tmp_path: Path):
    cursor = shop.home / "reconciled.json"
    _promote(shop, shop.version(1))
    reconcile(shop.ledger_root, shop.catalog, cursor=cursor)
    with open_catalog(f"sqlite:///{tmp_path / 'new.db'}") as empty:
        assert reconcile(shop.ledger_root, empty, cursor=cursor) == 1


def test_a_ledger_that_cannot_write_leaves_the_catalog_as_it_was(shop):
    _promote(shop, shop.version(1))
    version = shop.version(2)
    closed = Ledger(shop.ledger_root, "closed")
    closed.close()
    with pytest.raises(StoreError, match="closed"):
        _promote(shop, version, ledger=closed)
    assert shop.catalog.releases.current("route").version == 1
