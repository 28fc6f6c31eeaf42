"""Keys over time: whatever is rotated, retired, revoked or left to expire, in any order, opens what it should."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clocks import Hands
from tokenworks.core.errors import ConfigError, ConflictError
from tokenworks.governance.keys import SHOWN, KeyRefusedError, Keys
from tokenworks.governance.stamp import Stamp
from tokenworks.store.catalog import Catalog, open_catalog


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with open_catalog(f"sqlite:///{tmp_path_factory.mktemp('keys') / 'catalog.db'}") as opened:
        yield opened


@pytest.fixture
def keys(catalog: Catalog, clock: Hands) -> Keys:
    return Keys(catalog.keys, clock=clock)


async def test_both_secrets_open_until_the_grace_ends(keys: Keys, clock: Hands) -> None:
    old, kept = keys.create("support", name="bot")
    new, made = keys.rotate(kept.prefix, grace_s=3600)
    assert await keys.verify(old) == await keys.verify(new)
    assert (made.id, made.prefix) == (kept.prefix, new[:SHOWN])
    clock.at += 3600
    assert (await keys.verify(new)).key_id == kept.prefix
    with pytest.raises(KeyRefusedError, match="was replaced by a new secret at"):
        await keys.verify(old)


async def test_work_begun_with_the_old_secret_goes_on_under_the_new_one(keys: Keys, clock: Hands) -> None:
    old, kept = keys.create("support")
    begun_by = (await keys.verify(old)).key_id
    keys.rotate(kept.prefix, grace_s=0)
    assert (await keys.stand_in(begun_by)).tenant == "support"


async def test_revoking_by_the_name_in_the_ledger_ends_every_secret_of_the_key(keys: Keys) -> None:
    old, kept = keys.create("support")
    new, _ = keys.rotate(kept.prefix, grace_s=3600)
    keys.revoke(kept.prefix)
    for secret in (old, new):
        with pytest.raises(KeyRefusedError, match="was revoked at"):
            await keys.verify(secret)
    with pytest.raises(ConflictError, match="make a new one with `key new`"):
        keys.rotate(kept.prefix, grace_s=0)


async def test_a_rotated_secret_can_be_ended_before_its_grace_and_a_lone_one_cannot(keys: Keys) -> None:
    old, kept = keys.create("support")
    with pytest.raises(ConflictError, match="has no successor that lives"):
        keys.retire(kept.prefix)
    new, _ = keys.rotate(kept.prefix, grace_s=3600)
    keys.retire(kept.prefix)
    assert await keys.verify(new)
    with pytest.raises(KeyRefusedError, match="was replaced"):
        await keys.verify(old)


async def test_a_key_that_expires_gets_as_long_a_life_again(keys: Keys, clock: Hands) -> None:
    _, kept = keys.create("support", expires_at=clock.at + 100)
    clock.at += 60
    _, made = keys.rotate(kept.prefix, grace_s=0)
    assert made.expires_at == clock.at + 100


@pytest.mark.parametrize("grace", [-1.0, float("nan"), float("inf")])
def test_a_grace_that_cannot_be_meant_is_refused(keys: Keys, grace: float) -> None:
    _, kept = keys.create("support")
    with pytest.raises(ConfigError, match="cannot be meant"):
        keys.rotate(kept.prefix, grace_s=grace)


async def test_a_revocation_by_another_process_of_the_home_is_seen_at_once(
    catalog: Catalog, clock: Hands, tmp_path: Path
) -> None:
    stamp = Stamp(tmp_path / "stamp")
    here = Keys(catalog.keys, clock=clock, fresh_s=1e9, generation=stamp.generation)
    secret, kept = here.create("support")
    await here.verify(secret)
    catalog.keys.revoke(kept.hash, at=clock.at)
    clock.at += 0.02
    assert await here.verify(secret), "nobody told, and the catalog is not asked"
    stamp.bump()
    clock.at += 0.02
    with pytest.raises(KeyRefusedError, match="was revoked at"):
        await here.verify(secret)


async def test_what_was_read_while_a_key_was_revoked_is_not_remembered(catalog: Catalog, clock: Hands) -> None:
    class Slow:
        """The catalog, answering with what it knew before the revocation."""

        def __getattr__(self, name: str) -> object:
            return getattr(catalog.keys, name)

        def standing(self, hash: str) -> object:
            found = catalog.keys.standing(hash)
            loop.call_soon_threadsafe(reading.set)
            assert asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(60)
            return found

    loop, reading, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    keys = Keys(Slow(), clock=clock)
    secret, kept = keys.create("support")
    early = asyncio.create_task(keys.verify(secret))
    await reading.wait()
    keys.revoke(kept.prefix)
    go_on.set()
    await early
    with pytest.raises(KeyRefusedError, match="was revoked at"):
        await keys.verify(secret)


async def test_many_who_wait_for_one_key_share_one_read(catalog: Catalog, clock: Hands) -> None:
    class Counting:
        reads = 0

        def __getattr__(self, name: str) -> object:
            return getattr(catalog.keys, name)

        def standing(self, hash: str) -> object:
            Counting.reads += 1
            return catalog.keys.standing(hash)

    keys = Keys(Counting(), clock=clock)
    secret, _ = keys.create("support")
    await asyncio.gather(*(keys.verify(secret) for _ in range(50)))
    assert Counting.reads == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([1.0, 5.0, 20.0])),
        st.tuples(st.just("rotate"), st.sampled_from([0.0, 3.0, 30.0])),
        st.tuples(st.just("retire"), st.integers(0, 5)),
        st.tuples(st.just("revoke"), st.integers(0, 5)),
    ),
    max_size=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, lifetime=st.sampled_from([None, 10.0, 40.0]))
def test_in_any_order_each_secret_opens_exactly_until_its_first_end(
    catalog: Catalog, steps: list[tuple[str, float]], lifetime: float | None
) -> None:
    clock = Hands()
    keys, elsewhere = Keys(catalog.keys, clock=clock), Keys(catalog.keys, clock=clock)
    ends = {keys.create("t", expires_at=None if lifetime is None else clock.at + lifetime)[0]: _end(clock, lifetime)}
    revoked = False
    for action, amount in steps:
        secrets = list(ends)
        newest = secrets[-1]
        if action == "wait":
            clock.at += amount
        elif action == "rotate":
            if revoked or clock.at >= ends[newest]:
                with pytest.raises(ConflictError):
                    keys.rotate(newest[:SHOWN], grace_s=amount)
                continue
            made, _ = keys.rotate(newest[:SHOWN], grace_s=amount)
            for secret in secrets:
                ends[secret] = min(ends[secret], clock.at + amount)
            ends[made] = _end(clock, lifetime)
        else:
            secret = secrets[int(amount) % len(secrets)]
            if action == "revoke":
                elsewhere.revoke(secret[:SHOWN])
                ends, revoked = {each: min(end, clock.at) for each, end in ends.items()}, True
            elif secret == newest or revoked or clock.at >= ends[newest]:
                with pytest.raises(ConflictError):
                    keys.retire(secret[:SHOWN])
            else:
                keys.retire(secret[:SHOWN])
                ends[secret] = min(ends[secret], clock.at)
        clock.at += 1.0  # what another process did is known by now
        assert {each: asyncio.run(_opens(keys, each)) for each in ends} == {
            each: clock.at < end for each, end in ends.items()
        }


def _end(clock: Hands, lifetime: float | None) -> float:
    return float("inf") if lifetime is None else clock.at + lifetime


async def _opens(keys: Keys, secret: str) -> bool:
    try:
        await keys.verify(secret)
    except KeyRefusedError:
        return False
    return True
