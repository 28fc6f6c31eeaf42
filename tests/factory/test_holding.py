"""Legal holds and retention by label, with the clock; and what administrators do stands on the ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tokenworks.core.errors import ConfigError, NotFoundError, RefusedError
from tokenworks.core.ids import pseudonym
from tokenworks.factory.accounting import record_settings, show, told
from tokenworks.factory.erasing import erase
from tokenworks.factory.holding import hold, holds, lift
from tokenworks.factory.house import House
from tokenworks.factory.keeping import DAY_S, keep_house, kept_days
from tokenworks.factory.reach import target_of
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import ConfigEntry, Entry, ErasureEntry, HoldEntry, ReadEntry, RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.vault import Subject
from tokenworks.settings import EngineSettings, LedgerSettings, Settings, StoreSettings

ADA, BOB = pseudonym("clinic", "ada"), pseudonym("clinic", "bob")


@dataclass
class Later:
    """The clock of so many days from now."""

    days: float

    def now(self) -> float:
        return time.time() + self.days * DAY_S

    def monotonic(self) -> float:
        return time.monotonic()


def ask(house: House, request_id: str, *, user: str = ADA, label: str = "internal", tenant: str = "clinic") -> None:
    house.bodies.put(named(tenant, request_id), b"asked", b"answered", Subject(tenant, user, label))
    facts = {"endpoint": "e", "outcome": "ok", "status": 200, "tenant": tenant, "user": user, "label": label}
    house.ledger.append(RequestEntry(at=time.time(), request_id=request_id, **facts))


def kept(house: House, *request_ids: str) -> list[bool]:
    return [house.bodies.get(named("clinic", one)) is not None for one in request_ids]


def entries(house: House, kind: type[Entry]) -> list[Entry]:
    return [entry for _, entry in read(house.ledger_root) if isinstance(entry, kind)]


def settings(home: Path, **ledger: object) -> Settings:
    return Settings(home=str(home), ledger=msgspec.convert(ledger, LedgerSettings))


def test_texts_of_each_label_go_at_their_own_age(tmp_path: Path) -> None:
    with House(settings(tmp_path, keep={"restricted": 30, "internal": 365})) as house:
        ask(house, "req-1", label="restricted")
        ask(house, "req-2", label="internal")
        ask(house, "req-3", label="public")
        ages = ((29, [1, 1, 1], 0), (31, [0, 1, 1], 1), (364, [0, 1, 1], 0), (366, [0, 0, 1], 1), (9999, [0, 0, 1], 0))
        for days, there, gone in ages:
            house.clock = Later(days)
            assert keep_house(house) == gone
            assert kept(house, "req-1", "req-2", "req-3") == list(map(bool, there)), days
        assert [entry.requests for entry in entries(house, ErasureEntry)] == [1, 1]


def test_a_label_without_an_age_of_its_own_has_that_of_all() -> None:
    found = kept_days(LedgerSettings(keep_days=10, keep={"restricted": 3, "public": 0}), {"internal", "public", ""})
    assert found == {"restricted": 3, "internal": 10, "": 3}
    assert kept_days(LedgerSettings(), {"internal", ""}) == {}
    with pytest.raises(ConfigError, match="secrret"):
        kept_days(LedgerSettings(keep={"secrret": 3}), set())


def test_what_is_held_is_neither_dropped_nor_erased_until_it_is_lifted(tmp_path: Path) -> None:
    with House(settings(tmp_path, keep_days=30)) as house:
        ask(house, "req-1")
        ask(house, "req-2", user=BOB)
        made = hold(house, tenant="clinic", user="ada", because="case 4711", by="officer")
        assert [one.hold_id for one in holds(house)] == [made.hold_id]
        for target in (target_of(user="ada", tenant="clinic"), target_of(request="req-1")):
            with pytest.raises(RefusedError, match=f"case 4711.*{made.hold_id}"):
                erase(house, target, by="officer")
        house.clock = Later(40)
        assert keep_house(house) == 1
        assert kept(house, "req-1", "req-2") == [True, False]
        assert keep_house(house) == 0
        lift(house, made.hold_id, because="closed", by="officer")
        with pytest.raises(NotFoundError, match="hold list"):
            lift(house, made.hold_id, because="again", by="officer")
        assert keep_house(house) == 2, "the whole file goes, with the mark of what went before"
        assert kept(house, "req-1") == [False]
        told_of = [(entry.action, entry.user, entry.because) for entry in entries(house, HoldEntry)]
        assert told_of == [("set", ADA, "case 4711"), ("lifted", ADA, "closed")]


def test_a_hold_on_one_user_lets_another_be_erased(tmp_path: Path) -> None:
    with House(home=tmp_path) as house:
        ask(house, "req-1")
        ask(house, "req-2", user=BOB)
        hold(house, tenant="clinic", user="ada", because="case", by="officer")
        assert erase(house, target_of(user="bob", tenant="clinic"), by="officer").requests == 1
        assert kept(house, "req-1", "req-2") == [True, False]
        hold(house, tenant="clinic", because="all of it", by="officer")
        with pytest.raises(RefusedError, match="all of it"):
            erase(house, target_of(request="req-2"), by="officer")
        with pytest.raises(RefusedError, match="reason"):
            hold(house, tenant="clinic", because=" ", by="officer")


def test_who_is_shown_a_text_is_on_the_ledger_before_it_is_shown(tmp_path: Path) -> None:
    with House(home=tmp_path) as house:
        ask(house, "req-1")
        ask(house, "req-1", tenant="bank")
        found = show(house, "req-1", tenant="clinic", because="complaint", by="root")
        assert (found.prompt, found.answer) == ("asked", "answered")
        (entry,) = entries(house, ReadEntry)
        assert (entry.by, entry.because, entry.tenant, entry.user, entry.label) == (
            "root",
            "complaint",
            "clinic",
            ADA,
            "internal",
        )
        with pytest.raises(NotFoundError):
            show(house, "req-9", because="curious", by="root")
        house.ledger.close()  # what cannot be written down is not shown
        with pytest.raises(Exception, match="closed"):
            show(house, "req-1", tenant="clinic", because="again", by="root")


def test_a_server_start_says_what_changed_and_no_secret(tmp_path: Path) -> None:
    first = Settings(
        home=str(tmp_path),
        engines=EngineSettings(remote_key="hunter2", remote_url="https://user:hunter2@example.org/v1?key=hunter2"),
        store=StoreSettings(catalog=f"sqlite:///{tmp_path}/catalog.db"),
    )
    second = msgspec.structs.replace(first, ledger=LedgerSettings(keep_days=7.0, keep={"restricted": 3.0}))
    for one in (first, first, second):
        with House(one) as house:
            record_settings(house)
            found = entries(house, ConfigEntry)
    assert [entry.changed for entry in found] == [
        {},
        {},
        {"ledger.keep.restricted": ("", "3.0"), "ledger.keep_days": ("0.0", "7.0")},
    ]
    assert found[0].digest == found[1].digest != found[2].digest
    assert told(first)["engines.remote_url"] == "https://example.org/v1"
    log = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hunter2" not in log


def test_keys_and_headers_of_servers_elsewhere_are_named_and_never_shown():
    meter = {"header": "authorization: Bearer s3cret", "url": "http://meter"}
    remote = {"name": "there", "url": "https://there/v1", "key": "s3cret", "meter": meter}
    shown = told(msgspec.convert({"engines": {"remotes": [remote]}, "meter": meter}, Settings))
    assert not any("s3cret" in value for value in shown.values())
    assert shown["engines.remotes.there.key"] == shown["engines.remotes.there.meter.header"] == shown["meter.header"]
    assert shown["engines.remotes.there.url"] == "https://there/v1"
