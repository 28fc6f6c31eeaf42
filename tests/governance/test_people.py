"""Tenants, projects, people and roles: who may have a key, and what it may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenworks.core.errors import ConfigError, ConflictError, NotFoundError, RefusedError
from tokenworks.core.label import Label
from tokenworks.factory import Factory
from tokenworks.governance.keys import KeyRefusedError
from tokenworks.governance.roles import BUILT_IN, SCOPES, Role, Roles
from tokenworks.settings import IdentitySettings, RoleSettings, Settings


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    own = IdentitySettings(roles={"auditor": RoleSettings(scopes=("search",), clearance="restricted")})
    with Factory(Settings(home=str(tmp_path / "home"), identity=own)) as opened:
        opened.people.new_tenant("acme", by="root")
        yield opened


async def test_a_key_with_roles_may_do_what_any_of_them_allows(factory: Factory) -> None:
    who = await factory.keys.verify(factory.new_key("k", tenant="acme", roles=["viewer", "operator"]))
    assert who.scopes == {"search", "feedback", "infer", "versions", "evals"}
    assert (who.roles, who.clearance) == (("operator", "viewer"), Label.INTERNAL)
    audit = await factory.keys.verify(factory.new_key("k", tenant="acme", roles=["auditor"]))
    assert (audit.scopes, audit.clearance) == ({"search"}, Label.RESTRICTED)


async def test_a_clearance_of_its_own_bounds_a_key_with_roles(factory: Factory) -> None:
    secret = factory.new_key("k", tenant="acme", roles=["admin"], clearance=Label.PUBLIC)
    assert (await factory.keys.verify(secret)).clearance is Label.PUBLIC


async def test_a_persons_key_may_never_do_more_than_the_person(factory: Factory) -> None:
    factory.people.new_person("ada", tenant="acme", roles=["developer"], by="root")
    secret = factory.new_key("k", tenant="acme", owner="ada", roles=["admin"])
    who = await factory.keys.verify(secret)
    assert (who.scopes, who.clearance) == (BUILT_IN["developer"].scopes, Label.CONFIDENTIAL)
    assert who.person.startswith("person-")
    factory.people.set_roles("ada", ["viewer"], by="root")
    factory.keys._seen.forget()
    who = await factory.keys.verify(secret)
    assert (who.scopes, who.clearance) == ({"search", "feedback"}, Label.INTERNAL)
    factory.people.end_person("ada", by="root")
    factory.keys._seen.forget()
    with pytest.raises(KeyRefusedError, match="somebody who was let go"):
        await factory.keys.verify(secret)


@pytest.mark.parametrize("what", ["tenant", "project"])
async def test_what_is_closed_lets_no_key_in_until_it_is_open_again(factory: Factory, what: str) -> None:
    factory.people.new_project("acme", "web", by="root")
    secret = factory.new_key("k", tenant="acme", project="web")
    assert (await factory.keys.verify(secret)).project == "web"
    if what == "tenant":
        factory.people.close_tenant("acme", by="root")
    else:
        factory.people.close_project("acme", "web", by="root")
    factory.keys._seen.forget()
    with pytest.raises(KeyRefusedError, match=f"{what} .* was closed"):
        await factory.keys.verify(secret)
    with pytest.raises(RefusedError, match="is closed"):
        factory.new_key("k", tenant="acme", project="web")
    if what == "tenant":
        factory.people.open_tenant("acme", by="root")
    else:
        factory.people.open_project("acme", "web", by="root")
    factory.keys._seen.forget()
    assert await factory.keys.verify(secret)


def test_what_does_not_exist_or_does_already_is_said_with_the_way_out(factory: Factory) -> None:
    people = factory.people
    people.new_person("ada", tenant="acme", roles=[], by="root")
    with pytest.raises(ConflictError, match="exists already"):
        people.new_tenant("acme", by="root")
    with pytest.raises(ConflictError, match="is known already"):
        people.new_person("ada", tenant="acme", roles=[], by="root")
    with pytest.raises(NotFoundError, match="tokenworks tenant new rival"):
        people.close_tenant("rival", by="root")
    with pytest.raises(NotFoundError, match="tokenworks tenant project"):
        factory.new_key("k", tenant="acme", project="none")
    with pytest.raises(NotFoundError, match="tokenworks person list"):
        factory.new_key("k", tenant="acme", owner="bob")
    with pytest.raises(ConfigError, match="belongs to tenant 'acme'"):
        factory.new_key("k", tenant="rival", owner="ada")
    with pytest.raises(ConfigError, match="the roles are viewer, user"):
        people.set_roles("ada", ["king"], by="root")
    for name in ("", "a b", "../x", "x" * 65, "-x"):
        with pytest.raises(ConfigError, match="a name is"):
            people.new_tenant(name, by="root")
    for id in ("", "a\nb", "x" * 257):
        with pytest.raises(ConfigError, match="printable characters"):
            people.new_person(id, tenant="acme", roles=[], by="root")
    for make in (lambda: people.new_tenant("house", by="r"), lambda: factory.new_key("k", tenant="house")):
        with pytest.raises(ConfigError, match="the factory itself"):
            make()


def test_a_role_is_a_set_of_scopes_that_exist_and_no_built_in_one_means_something_else() -> None:
    assert all(role.scopes <= set(SCOPES) for role in BUILT_IN.values())
    assert BUILT_IN["admin"].scopes == set(SCOPES)
    with pytest.raises(ConfigError, match="is built in"):
        Roles({"admin": Role(scopes=frozenset(), clearance=Label.PUBLIC)})
    with pytest.raises(ConfigError, match="scope 'root' does not exist"):
        Roles({"king": Role(scopes=frozenset({"root"}), clearance=Label.PUBLIC)})
    assert Roles().scopes(["gone"]) == frozenset()
    assert Roles().clearance(["gone"]) is Label.PUBLIC
