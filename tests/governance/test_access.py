"""Changes of access over a real catalog and ledger: each recorded once, whatever ends the process in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tokenworks.core.errors import StoreError
from tokenworks.factory import Factory
from tokenworks.governance.keys import SHOWN
from tokenworks.ledger.entries import AccessEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.verify import verify
from tokenworks.settings import Settings

CRASH = """
import os, signal, sys
from tokenworks.factory import Factory
from tokenworks.settings import Settings
from tokenworks.store.changes import Changes
from tokenworks.ledger.writer import Ledger

home, where, action, subject = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
with Factory(Settings(home=home)) as factory:
    factory.people, factory.keys
    if where == "before the ledger":
        Ledger.append = die
    if where == "before the catalog follows":
        Changes.finish = die
    if action == "revoke":
        factory.revoke_key(subject)
    if action == "new":
        factory.new_key(subject, tenant="default")
    if action == "roles":
        factory.people.set_roles(subject, ["admin", "viewer"], by="test")
"""


def entries(home: Path) -> list[AccessEntry]:
    return [entry for _, entry in read(home / "ledger") if isinstance(entry, AccessEntry)]


def crash(home: Path, where: str, action: str, subject: str) -> None:
    done = subprocess.run([sys.executable, "-c", CRASH, str(home), where, action, subject], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_every_change_is_an_entry_that_says_who_and_never_the_secret(home: Path) -> None:
    with Factory(Settings(home=str(home))) as factory:
        factory.people.new_tenant("acme", by="root")
        factory.people.new_project("acme", "web", by="root")
        factory.people.new_person("ada@example.org", tenant="acme", roles=["developer"], by="root")
        secret = factory.new_key("ci", tenant="acme", project="web", owner="ada@example.org", roles=["user"])
        rotated, _ = factory.rotate_key(secret[:SHOWN], grace_s=60)
        factory.retire_key(secret[:SHOWN])
        factory.revoke_key(rotated[:SHOWN])
        factory.people.set_roles("ada@example.org", ["viewer"], by="root")
        factory.people.end_person("ada@example.org", by="root")
        factory.people.close_project("acme", "web", by="root")
        factory.people.close_tenant("acme", by="root")
    found = entries(home)
    assert [entry.action for entry in found] == [
        "tenant.new", "project.new", "person.new", "key.new", "key.rotate", "key.retire", "key.revoke",
        "person.roles", "person.end", "project.close", "tenant.close",
    ]  # fmt: skip
    assert all(entry.by and entry.tenant == "acme" for entry in found)
    assert found[3].roles == ("user",)
    assert found[4].subject == found[6].subject == secret[:SHOWN]
    assert not verify(home / "ledger").problems
    for path in home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(each[SHOWN:].encode() in data for each in (secret, rotated)), path
            assert b"ada@example.org" not in data or "ledger" not in path.parts, path


@pytest.mark.parametrize("where", ["before the ledger", "before the catalog follows"])
def test_a_revocation_holds_from_the_first_write_and_is_recorded_once_after_a_kill(home: Path, where: str) -> None:
    with Factory(Settings(home=str(home))) as factory:
        secret = factory.new_key("ci", tenant="acme")
    crash(home, where, "revoke", secret[:SHOWN])
    for _ in range(2):
        with Factory(Settings(home=str(home))) as factory:
            (key,) = factory.catalog.keys.all()
            assert key.revoked_at is not None
            assert factory.catalog.changes.open() == []
    assert [entry.action for entry in entries(home)] == ["key.new", "key.revoke"]


@pytest.mark.parametrize(("where", "given"), [("before the ledger", False), ("before the catalog follows", True)])
def test_a_key_or_role_comes_to_be_only_if_the_ledger_knows(home: Path, where: str, given: bool) -> None:
    with Factory(Settings(home=str(home))) as factory:
        factory.people.new_person("ada", tenant="acme", roles=["viewer"], by="root")
    crash(home, where, "new", "ci")
    crash(home, where, "roles", "ada")
    with Factory(Settings(home=str(home))) as factory:
        assert bool(factory.catalog.keys.all()) == given
        assert factory.people.person("ada").roles == (("admin", "viewer") if given else ("viewer",))
        assert factory.catalog.changes.open() == []
    assert [e.action for e in entries(home)] == ["person.new"] + ["key.new", "person.roles"] * given


def test_a_change_of_roles_that_took_one_is_carried_to_its_end(home: Path) -> None:
    with Factory(Settings(home=str(home))) as factory:
        factory.people.new_person("ada", tenant="acme", roles=["security"], by="root")
    crash(home, "before the ledger", "roles", "ada")
    with Factory(Settings(home=str(home))) as factory:
        assert factory.people.person("ada").roles == ("admin", "viewer")
    assert entries(home)[-1].roles == ("admin", "viewer")


def test_where_the_ledger_cannot_be_written_nothing_is_given_and_what_is_taken_away_is_gone(home: Path) -> None:
    with Factory(Settings(home=str(home))) as factory:
        secret = factory.new_key("ci", tenant="acme")
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, factory.ledger._log._file)  # the disk is full from now on
        os.close(full)
        with pytest.raises(StoreError, match="was not recorded"):
            factory.new_key("more", tenant="acme")
        with pytest.raises(StoreError, match="was not recorded"):
            factory.revoke_key(secret[:SHOWN])
        (key,) = factory.catalog.keys.all()
        assert key.revoked_at is not None
    with Factory(Settings(home=str(home))) as factory:
        assert len(factory.catalog.keys.all()) == 1
    assert [entry.action for entry in entries(home)] == ["key.new", "key.revoke"]
