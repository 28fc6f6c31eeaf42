"""Grants: never more than the key, never longer than the task, and nothing once the key is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError, ConflictError, NotFoundError
from tokenworks.core.label import Label
from tokenworks.factory import Factory
from tokenworks.governance.grants import MOST_S, Rights
from tokenworks.governance.keys import KeyRefusedError
from tokenworks.governance.roles import BUILT_IN, SCOPES
from tokenworks.ledger.entries import AccessEntry
from tokenworks.ledger.reader import read
from tokenworks.settings import ModelPrice, PriceSettings, Settings
from tokenworks.store.nouns import Budget
from tokenworks.store.ops import AddKey

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with Factory(Settings(home=str(tmp_path_factory.mktemp("home")))) as opened:
        opened.people.new_tenant("acme", by="root")
        opened.people.new_project("acme", "web", by="root")
        yield opened


def prefix(secret: str) -> str:
    return secret[:11]


async def test_a_grant_asks_in_the_name_of_its_key_and_may_do_less(factory: Factory) -> None:
    key = factory.new_key("ci", tenant="acme", project="web", roles=["developer"])
    rights = Rights(task="nightly", lasts_s=HOUR_S, scopes=frozenset({"infer"}), models=("m",), clearance=Label.PUBLIC)
    secret, kept = factory.new_grant(prefix(key), rights)
    who, of = await factory.keys.verify(secret), await factory.keys.verify(key)
    assert (who.key_id, who.tenant, who.project, who.roles) == (of.key_id, "acme", "web", ("developer",))
    assert (who.scopes, who.clearance, who.models, who.task) == ({"infer"}, Label.PUBLIC, ("m",), "nightly")
    assert (who.grant, who.credential_id, of.credential_id) == (kept.prefix, kept.prefix, of.key_id)
    assert await factory.keys.stand_in(who.credential_id) == who  # work in its name has its rights, not the key's
    assert (of.scopes, of.models, of.grant) == (BUILT_IN["developer"].scopes, (), "")


async def test_what_ends_the_key_ends_its_grants_and_ending_a_grant_ends_nothing_else(factory: Factory) -> None:
    key = factory.new_key("ci", tenant="acme")
    grants = [factory.new_grant(prefix(key), Rights(task=f"t{n}", lasts_s=HOUR_S))[0] for n in range(2)]
    factory.end_grant(prefix(grants[0]))
    with pytest.raises(KeyRefusedError, match=r"grant .* for 't0' ended at"):
        await factory.keys.verify(grants[0])
    assert (await factory.keys.verify(grants[1])).task == "t1"
    new, _ = factory.rotate_key(prefix(key), grace_s=0)
    assert (await factory.keys.verify(grants[1])).task == "t1"  # the key goes on, so its tasks do
    factory.revoke_key(prefix(new))
    with pytest.raises(KeyRefusedError, match=r"grant .* for 't1' ended at"):
        await factory.keys.verify(grants[1])
    with pytest.raises(KeyRefusedError):
        await factory.keys.stand_in(prefix(grants[1]))
    with pytest.raises(ConflictError, match="was revoked or has expired"):
        factory.new_grant(prefix(key), Rights(task="t", lasts_s=HOUR_S))


async def test_a_grant_that_is_born_while_its_key_is_revoked_is_born_revoked(factory: Factory) -> None:
    key = factory.new_key("ci", tenant="acme")
    secret, kept = factory.new_grant(prefix(key), Rights(task="t", lasts_s=HOUR_S))
    with factory.catalog.keys._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM keys WHERE prefix = ?", (kept.prefix,))
    factory.revoke_key(prefix(key))
    factory.catalog.changes.apply([AddKey(key=kept)])
    with pytest.raises(KeyRefusedError, match="ended at"):
        await factory.keys.verify(secret)


async def test_a_persons_grant_shrinks_and_ends_with_the_person(factory: Factory) -> None:
    factory.people.new_person("ada", tenant="acme", roles=["developer"], by="root")
    key = factory.new_key("own", tenant="acme", owner="ada", roles=["developer"])
    secret, _ = factory.new_grant(prefix(key), Rights(task="t", lasts_s=HOUR_S))
    factory.people.set_roles("ada", ["viewer"], by="root")
    factory.keys._seen.forget()
    who = await factory.keys.verify(secret)
    assert (who.scopes, who.roles) == ({"search", "feedback"}, ("viewer",))
    factory.people.end_person("ada", by="root")
    factory.keys._seen.forget()
    with pytest.raises(KeyRefusedError, match="somebody who was let go"):
        await factory.keys.verify(secret)


def test_making_and_ending_a_grant_is_on_the_ledger_without_its_secret(factory: Factory) -> None:
    key = factory.new_key("ci", tenant="acme")
    secret, kept = factory.new_grant(prefix(key), Rights(task="audit", lasts_s=HOUR_S, models=("m",)))
    factory.end_grant(kept.prefix)
    entries = [one for _, one in read(factory.ledger_root) if isinstance(one, AccessEntry)]
    about = [one for one in entries if one.subject == kept.prefix]
    assert [(one.action, one.name, one.parent, one.models) for one in about] == [
        ("grant.new", "audit", prefix(key), ("m",)),
        ("grant.end", "audit", prefix(key), ("m",)),
    ]
    assert about[0].expires_at == kept.expires_at
    files = [path.read_bytes() for path in Path(factory.ledger_root).rglob("*") if path.is_file()]
    assert not any(secret.encode() in content for content in files)


async def test_a_budget_is_the_grants_own_stands_on_the_ledger_and_outlives_a_restart(factory: Factory) -> None:
    key = factory.new_key("ci", tenant="acme")
    budget = Budget(tokens=1000, requests=20, concurrency=2)
    secret, kept = factory.new_grant(prefix(key), Rights(task="audit", lasts_s=HOUR_S, budget=budget))
    none, _ = factory.new_grant(prefix(key), Rights(task="audit", lasts_s=HOUR_S, budget=Budget()))
    with Factory(home=factory.home) as again:
        budgets = [(await again.keys.verify(one)).budget for one in (secret, none, key)]
        assert budgets == [budget, None, None]
        assert (await again.keys.stand_in(kept.prefix)).budget == budget
    entries = [one for _, one in read(factory.ledger_root) if isinstance(one, AccessEntry)]
    assert [one.budget for one in entries if one.subject == kept.prefix] == [budget]


def test_a_budget_in_money_that_would_bound_nothing_is_refused(factory: Factory, tmp_path: Path) -> None:
    rights = Rights(task="t", lasts_s=HOUR_S, budget=Budget(money_micro=1))
    with pytest.raises(ConfigError, match="would bound nothing, since no model has a price"):
        factory.new_grant(prefix(factory.new_key("ci", tenant="acme")), rights)
    prices = PriceSettings(models={"m": ModelPrice(input=1.0, output=2.0)})
    with Factory(Settings(home=str(tmp_path), prices=prices)) as priced:
        _, kept = priced.new_grant(prefix(priced.new_key("ci", tenant="acme")), rights)
        assert kept.budget == Budget(money_micro=1)


@pytest.mark.parametrize(
    ("rights", "says"),
    [
        (Rights(task="", lasts_s=60), "1 to 64 printable"),
        (Rights(task="a\nb", lasts_s=60), "1 to 64 printable"),
        (Rights(task="t", lasts_s=0), "at most 31 days"),
        (Rights(task="t", lasts_s=float("nan")), "at most 31 days"),
        (Rights(task="t", lasts_s=MOST_S + 1), "at most 31 days"),
        (Rights(task="t", lasts_s=60, scopes=frozenset({"files"})), "lacks the scope 'files'"),
        (Rights(task="t", lasts_s=60, scopes=frozenset({"fly"})), "scope 'fly' does not exist"),
        (Rights(task="t", lasts_s=60, clearance=Label.RESTRICTED), "cleared for internal"),
        (Rights(task="t", lasts_s=60, models=("m@3",)), "all versions of a model"),
        (Rights(task="t", lasts_s=60, budget=Budget(tokens=-1)), "a budget of -1 tokens for 't' cannot be meant"),
        (Rights(task="t", lasts_s=60, budget=Budget(requests=0)), "give 1 to "),
        (Rights(task="t", lasts_s=60, budget=Budget(concurrency=2**60)), "give 1 to "),
    ],
)
def test_a_grant_that_cannot_be_meant_is_refused(factory: Factory, rights: Rights, says: str) -> None:
    key = factory.new_key("ci", tenant="acme")
    with pytest.raises(ConfigError, match=says):
        factory.new_grant(prefix(key), rights)


def test_a_grant_is_neither_renewed_nor_passed_on(factory: Factory) -> None:
    key = factory.new_key("ci", tenant="acme")
    _, kept = factory.new_grant(prefix(key), Rights(task="t", lasts_s=HOUR_S))
    with pytest.raises(ConflictError, match="ends with its task"):
        factory.rotate_key(kept.prefix, grace_s=0)
    with pytest.raises(ConfigError, match=f"make one of its key: `grant new TASK --key {prefix(key)}`"):
        factory.new_grant(kept.prefix, Rights(task="t", lasts_s=HOUR_S))
    with pytest.raises(NotFoundError, match="no grant begins with"):
        factory.end_grant(prefix(key))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    roles=st.sets(st.sampled_from(sorted(BUILT_IN))),
    days=st.none() | st.floats(0.01, 60),
    scopes=st.none() | st.frozensets(st.sampled_from(sorted(SCOPES))),
    clearance=st.none() | st.sampled_from(Label),
    lasts_s=st.floats(1, MOST_S),
)
async def test_no_grant_is_more_than_its_key(
    factory: Factory,
    roles: set[str],
    days: float | None,
    scopes: frozenset[str] | None,
    clearance: Label | None,
    lasts_s: float,
) -> None:
    key = factory.new_key("ci", tenant="acme", days=days, roles=roles)
    of = await factory.keys.verify(key)
    rights = Rights(task="t", lasts_s=lasts_s, scopes=scopes, clearance=clearance)
    fits = (scopes is None or scopes <= of.scopes) and (clearance is None or clearance <= of.clearance)
    if not fits:
        with pytest.raises(ConfigError):
            factory.new_grant(prefix(key), rights)
        return
    secret, kept = factory.new_grant(prefix(key), rights)
    who = await factory.keys.verify(secret)
    assert who.scopes == (of.scopes if scopes is None else scopes)
    assert who.clearance == (of.clearance if clearance is None else clearance)
    expires_at = next(one.expires_at for one in factory.catalog.keys.all() if one.prefix == prefix(key))
    assert kept.expires_at is not None
    assert kept.expires_at <= min(kept.created_at + lasts_s, expires_at or float("inf"))
