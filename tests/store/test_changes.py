"""Steps of changes on both databases: done twice they are done once, and a revocation is never overtaken."""

from __future__ import annotations

import threading

import msgspec
import pytest
from sqlalchemy import text

from tokenworks.core.ids import sha256_hex
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import Key, Person, Project, Standing, Tenant
from tokenworks.store.ops import (
    AddKey,
    AddPerson,
    AddProject,
    AddTenant,
    Change,
    EndOthers,
    EndPerson,
    EndSecret,
    RevokeKey,
    SetRoles,
    ShutProject,
    ShutTenant,
)


def key(secret: str, id: str = "tw-1", **changes: object) -> Key:
    made = Key(
        hash=sha256_hex(secret.encode()), prefix=secret, id=id, tenant="acme", name="ci", project="web", owner="ada"
    )
    return msgspec.structs.replace(made, **changes)


ADA = Person(id="ada", handle="person-1", tenant="acme", roles=("viewer",), claimed=("user",), created_at=1.0)


def test_a_key_stands_with_its_tenant_project_and_person(catalog: Catalog) -> None:
    catalog.changes.apply(
        [
            AddTenant(tenant=Tenant(name="acme", created_at=1.0)),
            AddProject(project=Project(tenant="acme", name="web", created_at=1.0)),
            AddPerson(person=ADA),
            AddKey(key=key("a")),
        ]
    )
    assert catalog.keys.standing(key("a").hash) == Standing(key=key("a"), person=ADA)
    catalog.changes.apply(
        [
            ShutTenant(name="acme", at=5.0),
            ShutProject(tenant="acme", name="web", at=6.0),
            EndPerson(id="ada", at=7.0),
            SetRoles(id="ada", roles=()),
        ]
    )
    found = catalog.keys.standing(key("a").hash)
    assert found is not None
    assert (found.tenant_closed_at, found.project_closed_at) == (5.0, 6.0)
    assert found.person == msgspec.structs.replace(ADA, roles=(), ended_at=7.0)
    assert catalog.people.by_handle("person-1") == catalog.people.get("ada") == found.person
    catalog.changes.apply([ShutTenant(name="acme", at=None), EndPerson(id="ada", at=None)])
    assert catalog.people.all()[0].ended_at is None
    assert catalog.keys.standing("unknown") is None


def test_a_key_without_owner_or_project_stands_alone(catalog: Catalog) -> None:
    alone = key("a", project="", owner="")
    catalog.changes.apply([AddKey(key=alone)])
    assert catalog.keys.standing(alone.hash) == Standing(key=alone)
    assert [tenant.name for tenant in catalog.tenants.all()] == ["acme"]


def test_the_earliest_end_counts_and_a_revocation_is_never_undone(catalog: Catalog) -> None:
    def ends() -> list[tuple[float | None, str]]:
        return [(one.revoked_at, one.ended_by) for one in catalog.keys.all()]

    catalog.changes.apply([AddKey(key=key("a"))])
    rotation = [AddKey(key=key("b", created_at=1.0)), EndOthers(id="tw-1", but=key("b").hash, at=50.0)]
    catalog.changes.apply(rotation)
    catalog.changes.apply(rotation)
    assert ends() == [(50.0, "rotation"), (None, "")]
    catalog.changes.apply([EndSecret(hash=key("a").hash, at=20.0), EndSecret(hash=key("a").hash, at=30.0)])
    assert ends()[0] == (20.0, "rotation")
    catalog.changes.apply([RevokeKey(id="tw-1", at=40.0), RevokeKey(id="tw-1", at=60.0)])
    assert ends() == [(20.0, "revocation"), (40.0, "revocation")]
    catalog.changes.apply([AddKey(key=key("c", created_at=2.0))])
    assert ends()[2] == (20.0, "revocation"), "born of a revoked key"


def test_a_plan_is_kept_until_it_is_finished_or_dropped(catalog: Catalog) -> None:
    catalog.changes.apply([AddKey(key=key("a"))])
    change = Change(
        id="acc-1", place="here", at=1.0, entry={"x": [1, None]},
        first=(EndSecret(hash=key("a").hash, at=9.0),), then=(AddKey(key=key("b", created_at=1.0)),),
    )  # fmt: skip
    catalog.changes.begin(change)
    assert catalog.changes.open() == [change]
    assert [one.revoked_at for one in catalog.keys.all()] == [9.0]
    catalog.changes.finish(change)
    catalog.changes.finish(change)
    assert [one.prefix for one in catalog.keys.all()] == ["a", "b"]
    catalog.changes.begin(msgspec.structs.replace(change, id="acc-2", then=()))
    catalog.changes.drop(msgspec.structs.replace(change, id="acc-2"))
    assert catalog.changes.open() == []


@pytest.mark.parametrize("round", range(5))
def test_a_key_that_is_rotated_while_it_is_revoked_ends_whole(catalog: Catalog, round: int) -> None:
    catalog.changes.apply([AddKey(key=key("a"))])
    ready = threading.Barrier(2)

    def rotate() -> None:
        ready.wait()
        new = key("b", created_at=1.0)
        catalog.changes.apply([AddKey(key=new), EndOthers(id="tw-1", but=new.hash, at=50.0)])

    def revoke() -> None:
        ready.wait()
        catalog.changes.apply([RevokeKey(id="tw-1", at=10.0)])

    threads = [threading.Thread(target=work) for work in (rotate, revoke)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [(one.revoked_at, one.ended_by) for one in catalog.keys.all()] == [(10.0, "revocation")] * 2


def test_keys_from_before_there_were_rotations_go_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tokenworks.store.catalog as module

    with monkeypatch.context() as before:
        before.setattr(module, "HEAD", "0003")
        with module.open_catalog(url) as old, old._database.write() as connection:
            for number, revoked_at in enumerate((None, 5.0)):
                connection.execute(
                    text(
                        "INSERT INTO keys (hash, prefix, tenant, name, scopes, clearance, created_at, revoked_at) "
                        "VALUES (:hash, :prefix, 'acme', 'ci', '[\"infer\"]', 'internal', 3.0, :revoked_at)"
                    ),
                    {"hash": str(number), "prefix": f"tw-{number}", "revoked_at": revoked_at},
                )
    with module.open_catalog(url) as catalog:
        keys = catalog.keys.all()
        assert [(one.id, one.scopes, one.ended_by) for one in keys] == [
            ("tw-0", ("infer",), ""), ("tw-1", ("infer",), "revocation"),
        ]  # fmt: skip
        assert catalog.tenants.all() == [Tenant(name="acme", created_at=3.0)]
        assert catalog.keys.standing("0") == Standing(key=keys[0])
