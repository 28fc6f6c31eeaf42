"""Keys over a real catalog: what opens, what no longer opens, and what is kept of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from clocks import Hands
from tokenworks.core.errors import ConfigError, NotFoundError
from tokenworks.core.label import Label
from tokenworks.governance.keys import DEFAULT_SCOPES, KeyRefusedError, Keys, Principal
from tokenworks.store.catalog import Catalog


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def keys(catalog: Catalog, clock: Hands) -> Keys:
    return Keys(catalog.keys, clock=clock)


async def test_a_new_key_opens_what_it_was_made_for(keys: Keys) -> None:
    secret, _ = keys.create("support", name="bot", scopes={"infer"}, clearance=Label.CONFIDENTIAL)
    who = await keys.verify(secret)
    assert (who.tenant, who.name, who.scopes, who.clearance) == ("support", "bot", {"infer"}, Label.CONFIDENTIAL)
    assert secret.startswith(who.key_id)


async def test_no_secret_is_kept_anywhere(keys: Keys, tmp_path: Path) -> None:
    secret, kept = keys.create("support")
    hidden = secret[len(kept.prefix) :].encode()
    assert len(hidden) == 35
    for path in tmp_path.rglob("*"):
        assert hidden not in path.read_bytes()


def test_two_keys_never_look_alike(keys: Keys) -> None:
    secrets = {keys.create("support")[0] for _ in range(20)}
    assert len({secret[:11] for secret in secrets}) == 20


@pytest.mark.parametrize("secret", ["tw-unknown", "x", "Bearer", "tw-" + "ä" * 43])
async def test_an_unknown_key_opens_nothing(keys: Keys, secret: str) -> None:
    with pytest.raises(KeyRefusedError, match="not known here; check it, or create one"):
        await keys.verify(secret)


async def test_no_key_is_told_how_to_send_one(keys: Keys) -> None:
    with pytest.raises(KeyRefusedError, match="Authorization: Bearer tw-"):
        await keys.verify("")


async def test_a_revoked_key_opens_nothing_at_once(keys: Keys) -> None:
    secret, kept = keys.create("support")
    await keys.verify(secret)
    keys.revoke(kept.prefix)
    with pytest.raises(KeyRefusedError, match="was revoked at"):
        await keys.verify(secret)


async def test_a_key_revoked_elsewhere_opens_nothing_within_a_second(
    keys: Keys, catalog: Catalog, clock: Hands
) -> None:
    secret, kept = keys.create("support")
    await keys.verify(secret)
    Keys(catalog.keys, clock=clock).revoke(kept.prefix)
    clock.at += 1.0
    with pytest.raises(KeyRefusedError, match="was revoked at"):
        await keys.verify(secret)


async def test_an_expired_key_says_when_it_ended(keys: Keys, clock: Hands) -> None:
    secret, _ = keys.create("support", expires_at=clock.at + 0.5)
    await keys.verify(secret)
    clock.at += 0.5
    with pytest.raises(KeyRefusedError, match=r"expired at 1970-01-12T13:46:40\.500Z"):
        await keys.verify(secret)


async def test_a_key_made_elsewhere_opens_at_once(catalog: Catalog, clock: Hands) -> None:
    here, elsewhere = Keys(catalog.keys, clock=clock), Keys(catalog.keys, clock=clock)
    secret, _ = elsewhere.create("support")
    assert (await here.verify(secret)).tenant == "support"


async def test_a_key_whose_end_is_set_for_later_opens_until_then(keys: Keys, catalog: Catalog, clock: Hands) -> None:
    secret, kept = keys.create("support")
    catalog.keys.revoke(kept.hash, at=clock.at + 10)
    assert (await keys.verify(secret)).tenant == "support"
    clock.at += 10
    with pytest.raises(KeyRefusedError, match="was revoked at"):
        await keys.verify(secret)


async def test_remembering_keys_is_bounded(keys: Keys) -> None:
    for number in range(4100):
        with pytest.raises(KeyRefusedError):
            await keys.verify(f"tw-{number}")
    assert len(keys._seen) <= 4096


def test_a_scope_that_does_not_exist_is_refused_with_those_that_do(keys: Keys) -> None:
    with pytest.raises(ConfigError, match="'root' does not exist; the scopes are infer, search, feedback, versions"):
        keys.create("support", scopes={"root"})


def test_a_key_that_never_opens_is_not_made(keys: Keys, clock: Hands) -> None:
    with pytest.raises(ConfigError, match="would never open anything"):
        keys.create("support", expires_at=clock.at)


def test_revoking_what_does_not_exist_says_where_to_look(keys: Keys) -> None:
    with pytest.raises(NotFoundError, match="tokenworks key list"):
        keys.revoke("tw-nothing")


async def test_a_part_of_the_process_has_a_key_that_is_kept_nowhere(keys: Keys, catalog: Catalog) -> None:
    secret = keys.internal(Principal(key_id="evaluation", tenant="house", clearance=Label.RESTRICTED))
    assert (await keys.verify(secret)).key_id == "evaluation"
    assert catalog.keys.all() == []
    with pytest.raises(KeyRefusedError):
        await Keys(catalog.keys).verify(secret)


async def test_an_exact_version_needs_a_scope_that_is_not_given_by_default(keys: Keys) -> None:
    secret, _ = keys.create("support")
    assert (await keys.verify(secret)).scopes == DEFAULT_SCOPES
    assert "versions" not in DEFAULT_SCOPES


def test_no_key_can_be_made_for_the_house_itself(keys):
    with pytest.raises(ConfigError, match="is the factory itself"):
        keys.create("house")
