"""Signing in: tokens of a real provider in a process, and every kind of token that must not be let in."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from governance.issuers import CLIENT, Issuer, Provider, coded
from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.governance.access import Access
from tokenworks.governance.jwks import Jwks
from tokenworks.governance.keys import KeyRefusedError
from tokenworks.governance.oidc import Rules, Tokens
from tokenworks.governance.people import People, handle_of
from tokenworks.governance.provider import ProviderDownError, fetch_keys
from tokenworks.governance.roles import Roles
from tokenworks.ledger.entries import AccessEntry
from tokenworks.store.catalog import Catalog


class Hands:
    """The real time, and a monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return self.at


class Door:
    """Tokens over a real catalog, with what was recorded."""

    def __init__(self, catalog: Catalog, issuer: str, **rules: Any) -> None:
        self.clock, self.entries, self.fetched = Hands(), list[AccessEntry](), 0
        self.generation = 0
        access = Access(catalog.changes, record=self.entries.append, tell=lambda: None, place="here")
        roles = Roles()
        self.people = People(catalog.tenants, catalog.people, make=access.make, roles=roles)
        said = {"roles": {"staff": "user", "ml": "developer"}, "tenants": {"ml": "lab"}, "leeway_s": 0.0} | rules
        fetch = partial(fetch_keys, issuer, timeout_s=2.0)
        self.jwks = Jwks(lambda: self._count(fetch), clock=self.clock, fresh_s=300, kept_s=3600)
        self.tokens = Tokens(
            Rules(issuer=issuer, audience=CLIENT, **said), self.jwks, self.people, roles, clock=self.clock,
            generation=lambda: self.generation,
        )  # fmt: skip

    def _count(self, fetch: Any) -> Any:
        self.fetched += 1
        return fetch()

    async def refusal(self, token: str) -> str:
        with pytest.raises(KeyRefusedError) as refused:
            await self.tokens.verify(token)
        assert token not in str(refused.value)
        return str(refused.value)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    log = tmp_path_factory.mktemp("provider") / "log"
    made = Provider(log, {"ada": {"groups": ["staff", "ml"]}, "bob": {"groups": ["cooks"]}})
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
def fresh() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
def door(catalog: Catalog, issuer: Issuer) -> Door:
    return Door(catalog, issuer.url)


async def test_somebody_signs_in_with_a_real_provider_and_is_who_their_groups_say(
    catalog: Catalog, provider: Provider
) -> None:
    door = Door(catalog, provider.issuer)
    who = await door.tokens.verify(provider.sign_in("ada"))
    assert (who.tenant, who.roles, who.clearance) == ("lab", ("developer", "user"), Label.CONFIDENTIAL)
    assert "tune" in who.scopes
    assert who.key_id == who.person == handle_of("ada")
    assert "no role here" not in who.name
    assert "none of your groups has a role here" in await door.refusal(provider.sign_in("bob"))
    assert [person.id for person in catalog.people.all()] == ["ada"], "of whom nothing may be done nothing is kept"
    assert "meant for somebody else" in await door.refusal(provider.sign_in("ada", client="another"))
    assert [(e.action, e.subject, e.roles) for e in door.entries] == [
        ("person.sign-in", handle_of("ada"), ("developer", "user"))
    ]


@pytest.mark.slow
async def test_keys_roll_over_and_the_provider_may_be_down_at_first_and_later(catalog: Catalog, tmp_path: Path) -> None:
    provider = Provider(tmp_path / "log", {"ada": {"groups": ["staff"]}})
    door = Door(catalog, provider.issuer)
    with pytest.raises(ProviderDownError, match="cannot be used"):
        await door.tokens.verify(jwt.encode({"sub": "ada"}, rsa.generate_private_key(65537, 2048), "RS256"))
    provider.start()
    try:
        first = provider.sign_in("ada")
        door.clock.at += 1.0
        assert (await door.tokens.verify(first)).tenant == "default"
        provider.stop()
        door.clock.at += 400.0  # its keys are old by now, and it does not answer
        assert await door.tokens.verify(first)
        provider.start()  # with another key
        second = provider.sign_in("ada")
        door.clock.at += 10.0
        assert await door.tokens.verify(second)
        door.clock.at += 1.0
        assert "does not publish" in await door.refusal(first)
    finally:
        provider.stop()


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
async def test_each_way_of_signing_is_understood(door: Door, issuer: Issuer, kid: str) -> None:
    assert (await door.tokens.verify(issuer.token(kid))).roles == ("user",)


BAD: dict[str, tuple[Any, str]] = {
    "expired": (lambda i: i.token(exp=time.time() - 1), "has expired"),
    "not valid yet": (lambda i: i.token(nbf=time.time() + 60), "not valid yet"),
    "no expiry": (lambda i: i.token(exp=None), "lacks an expiry"),
    "another issuer": (lambda i: i.token(iss="https://evil.example"), "another issuer"),
    "another audience": (lambda i: i.token(aud=["a", "b"]), "meant for somebody else"),
    "no audience": (lambda i: i.token(aud=None), "lacks an expiry, an issuer or an audience"),
    "nobody": (lambda i: i.token(sub=None), "names nobody"),
    "a number for a name": (lambda i: i.token(sub=["ada"]), "identity provider would sign|names nobody"),
    "a name with a line break": (lambda i: i.token(sub="a\nb"), "names nobody"),
    "none": (lambda i: i.unsigned(), "are signed with RS256, ES256, EdDSA here"),
    "confused": (lambda i: i.confused(), "are signed with RS256, ES256, EdDSA here"),
    "the header of another key": (lambda i: i.token("ec", headers={"kid": "rsa"}), "another way than its key"),
    "unknown critical header": (lambda i: i.token(headers={"crit": ["x"], "x": 1}), "no token|would sign"),
    "unknown key": (lambda i: i.token(headers={"kid": "other"}), "does not publish"),
    "tampered": (lambda i: tampered(i.token()), "was changed since"),
    "signed by somebody else": (lambda i: forged(i), "was changed since"),
    "cut": (lambda i: i.token()[:-20], "was changed since|no token that can be read"),
    "too long": (lambda i: i.token(groups=["x" * 20_000]), "longer than"),
    "infinite": (lambda i: i.token(exp=float("inf")), "would sign|expiry"),
}  # fmt: skip


def tampered(token: str) -> str:
    head, _, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False}) | {"groups": ["ml"]}
    return ".".join([head, coded(json.dumps(claims).encode()).decode(), signature])


def forged(issuer: Issuer) -> str:
    key = rsa.generate_private_key(65537, 2048)
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    headers = {"kid": "rsa", "jwk": own, "jku": f"{issuer.url}/mine"}
    return jwt.encode(issuer.claims(), key, "RS256", headers=headers)


@pytest.mark.parametrize("kind", BAD)
async def test_a_token_that_is_wrong_is_refused_and_told_why(door: Door, issuer: Issuer, kind: str) -> None:
    import re

    make, why = BAD[kind]
    assert re.search(why, await door.refusal(make(issuer)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.one_of(st.text(), st.from_regex(r"eyJ[A-Za-z0-9_.-]{0,200}", fullmatch=True), st.binary(max_size=99)))
def test_whatever_is_sent_as_a_token_is_refused_and_nothing_breaks(door: Door, token: str | bytes) -> None:
    if isinstance(token, bytes):
        token = b".".join([coded(b'{"alg":"RS256","kid":"rsa","x":' + token + b"}"), coded(token), b"AA"]).decode()
    with pytest.raises((KeyRefusedError, ProviderDownError)):
        asyncio.run(door.tokens.verify(token))


async def test_a_deeply_nested_header_is_refused(door: Door) -> None:
    head = coded(b'{"alg":"RS256","x":' + b"[" * 9000 + b"]" * 9 + b"}")
    assert "no token that can be read" in await door.refusal((head + b".e30.AA").decode()[:16000])


async def test_a_verified_token_costs_no_signature_until_access_changes(door: Door, issuer: Issuer) -> None:
    token = issuer.token()
    first = await door.tokens.verify(token)
    assert await door.tokens.verify(token) is first
    door.people.set_roles("ada", ["admin"], by="root")
    assert (await door.tokens.verify(token)) is first
    door.generation += 1
    door.clock.at += 0.02
    assert "admin" in (await door.tokens.verify(token)).roles


async def test_whoever_is_let_go_gets_in_by_no_token(door: Door, issuer: Issuer) -> None:
    token = issuer.token()
    await door.tokens.verify(token)
    door.people.end_person("ada", by="root")
    door.clock.at += 1.0
    assert "let in no more" in await door.refusal(token)
    assert "let in no more" in await door.refusal(issuer.token("ec"))
    with pytest.raises(KeyRefusedError, match="let in no more"):
        await door.tokens.stand_in(handle_of("ada"))
    door.people.restore_person("ada", by="root")
    door.clock.at += 1.0
    assert await door.tokens.verify(token)


async def test_a_closed_tenant_lets_nobody_sign_in(door: Door, issuer: Issuer) -> None:
    token = issuer.token(groups=["ml"])
    assert (await door.tokens.verify(token)).tenant == "lab"
    door.people.close_tenant("lab", by="root")
    door.clock.at += 1.0
    assert "tenant lab is closed" in await door.refusal(token)


async def test_groups_that_change_change_the_roles_and_are_recorded(door: Door, issuer: Issuer) -> None:
    await door.tokens.verify(issuer.token(groups=["staff", "ml"]))
    less = await door.tokens.verify(issuer.token(groups=["staff"]))
    assert less.roles == ("user",)
    assert [(e.tenant, e.roles) for e in door.entries] == [("lab", ("developer", "user")), ("default", ("user",))]
    assert (await door.tokens.stand_in(less.key_id)).roles == ("user",)


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("groups", {"groups": "staff other"}),
        ("realm_access.roles", {"realm_access": {"roles": ["staff", 7]}}),
        ("https://x.example/groups", {"https://x.example/groups": ["staff"]}),
    ],
)
async def test_groups_are_found_where_providers_put_them(
    catalog: Catalog, issuer: Issuer, claim: str, claims: dict[str, Any]
) -> None:
    door = Door(catalog, issuer.url, groups_claim=claim)
    assert (await door.tokens.verify(issuer.token(**({"groups": None} | claims)))).roles == ("user",)


async def test_an_address_names_somebody_only_where_it_was_verified(catalog: Catalog, issuer: Issuer) -> None:
    door = Door(catalog, issuer.url, person_claim="email")
    assert "has not verified" in await door.refusal(issuer.token(email="ada@example.org"))
    assert await door.tokens.verify(issuer.token(email="ada@example.org", email_verified=True))


async def test_without_a_tenant_for_everybody_only_the_named_groups_come_in(catalog: Catalog, issuer: Issuer) -> None:
    door = Door(catalog, issuer.url, tenant="")
    assert "belongs to a tenant" in await door.refusal(issuer.token())
    assert (await door.tokens.verify(issuer.token(groups=["ml"]))).tenant == "lab"


async def test_keys_nobody_has_heard_of_are_asked_for_rarely(catalog: Catalog, fresh: Issuer) -> None:
    door = Door(catalog, fresh.url)
    await door.tokens.verify(fresh.token())
    for number in range(20):
        assert "does not publish" in await door.refusal(fresh.token(headers={"kid": f"x{number}"}))
    assert door.fetched == 1
    fresh.keys["rsa2"] = rsa.generate_private_key(65537, 2048)
    door.clock.at += 10.0
    await asyncio.gather(*(door.tokens.verify(fresh.token("rsa2", jti=str(n))) for n in range(10)))
    assert door.fetched == 2


async def test_a_key_that_is_withdrawn_ends_the_tokens_it_signed(catalog: Catalog, fresh: Issuer) -> None:
    door = Door(catalog, fresh.url)
    token = fresh.token("ec")
    await door.tokens.verify(token)
    del fresh.keys["ec"]
    door.clock.at += 301.0
    await door.tokens.verify(token)  # asks in the background
    while door.fetched < 2 or door.jwks._fetching is not None:
        await asyncio.sleep(0.01)
    door.clock.at += 1.0
    assert "does not publish" in await door.refusal(token)


async def test_keys_are_kept_for_a_day_and_no_longer(catalog: Catalog, fresh: Issuer) -> None:
    door = Door(catalog, fresh.url)
    token = fresh.token()
    await door.tokens.verify(token)
    fresh.status = 500
    door.clock.at += 3599.0
    assert await door.tokens.verify(token)
    door.clock.at += 10.0
    with pytest.raises(ProviderDownError):
        await door.tokens.verify(token)


def test_a_provider_is_believed_only_as_far_as_it_is_this_issuer(fresh: Issuer) -> None:
    def refused(why: str) -> None:
        with pytest.raises(ProviderDownError, match=why):
            fetch_keys(fresh.url, timeout_s=2.0)

    fresh.about = {"issuer": "https://another.example"}
    refused("names its issuer")
    for place in ("http://169.254.169.254/keys", "file:///etc/passwd", None, "http://[::1", 7):
        fresh.about = {"jwks_uri": place}
        refused("is no https address")
    fresh.about, fresh.status = {}, 302
    refused("Found")
    fresh.status, fresh.keys = 200, {}
    refused("no key that may sign")
    shared = {"kty": "oct", "kid": "s", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}
    short = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    fresh.more = [shared, {**short, "kid": "short"}, {"kty": "RSA"}, 7, {"kty": "XYZ"}]
    refused("no key that may sign")


def test_a_provider_that_drips_is_given_up(fresh: Issuer) -> None:
    fresh.document = lambda path: b" " * (2 << 20)  # type: ignore[method-assign]
    before = threading.active_count()
    with pytest.raises(ProviderDownError, match="too long or too slow"):
        fetch_keys(fresh.url, timeout_s=2.0)
    assert threading.active_count() < before + 10


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"issuer": "http://idp.example", "audience": "a"}, "no https address"),
        ({"issuer": "https://idp.example", "audience": ""}, "any token of the issuer would be let in"),
        ({"issuer": "https://idp.example", "audience": "a", "tenant": "house"}, "the factory itself"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(rules: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Rules(**rules)
