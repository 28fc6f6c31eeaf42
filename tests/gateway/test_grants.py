"""Roles and grants decide in a gateway, and stand on the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tokenworks.core.label import Label
from tokenworks.governance.grants import Rights
from tokenworks.governance.keys import SCOPES, SHOWN
from tokenworks.governance.limits import Limit, Subject

from .test_policy import Ruled

if TYPE_CHECKING:
    from .conftest import House

HOUR_S = 3600.0
FRESH_S = 0.12
RULES = """
@id("run-only") @reason("route is for the nightly run")
forbid(principal in Tenant::"granted", action == Action::"infer", resource == Model::"route")
unless { context has grant && context.grant == "nightly" };
@id("no-operators") @reason("operators of this tenant ask nothing")
forbid(principal in Role::"operator", action == Action::"infer", resource);
"""


@pytest.fixture(scope="module")
def ruled(house: House) -> Iterator[Ruled]:
    made = Ruled(house, RULES, "policies-of-grants")
    yield made
    made.close()


def complete(ruled: Ruled, secret: str, **more: Any) -> Any:
    asked = {"model": "complete", "prompt": "x", "max_tokens": 1} | more
    return ruled.client(secret).completions.create(**asked)


def classify(ruled: Ruled, secret: str) -> Any:
    body = {"model": "route", "input": "a card"}
    return ruled.http.post("/classify", json=body, headers={"authorization": f"Bearer {secret}"})


def test_a_role_that_a_policy_denies_is_denied_with_its_reason(house: House, ruled: Ruled) -> None:
    operator, _ = house.keys.create("granted", roles=["operator"])
    user, _ = house.keys.create("granted", roles=["user"])
    assert complete(ruled, user).choices
    with pytest.raises(openai.PermissionDeniedError, match="because operators of this tenant ask nothing") as refused:
        complete(ruled, operator)
    entry = house.entry(str(refused.value.request_id))
    assert (entry.denied_by, entry.error) == ("no-operators", "denied_by_policy")


def test_a_grant_opens_while_it_lasts_what_its_key_may_not(house: House, ruled: Ruled) -> None:
    secret, key = house.keys.create("granted")
    grant, kept = house.keys.grant(secret[:SHOWN], Rights(task="nightly", lasts_s=HOUR_S))
    other, _ = house.keys.grant(secret[:SHOWN], Rights(task="daily", lasts_s=HOUR_S))
    for denied in (secret, other):
        answer = classify(ruled, denied)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "denied_by_policy")
        assert "route is for the nightly run" in answer.json()["error"]["message"]
    allowed = classify(ruled, grant)
    assert allowed.status_code == 200
    entry = house.entry(allowed.headers["x-request-id"])
    assert (entry.key_id, entry.grant) == (key.name_id, kept.prefix)
    assert house.entry(classify(ruled, secret).headers["x-request-id"]).grant == ""
    house.keys.revoke(kept.prefix)
    ended = classify(ruled, grant)
    assert (ended.status_code, "for 'nightly' ended at" in ended.json()["error"]["message"]) == (401, True)


def test_a_grant_ends_by_itself(house: House, ruled: Ruled) -> None:
    secret, _ = house.keys.create("granted")
    grant, kept = house.keys.grant(secret[:SHOWN], Rights(task="nightly", lasts_s=1.0))
    assert classify(ruled, grant).status_code == 200
    house.wait_until(lambda: kept.expires_at is not None and time.time() >= kept.expires_at)
    assert classify(ruled, grant).status_code == 401
    assert complete(ruled, secret).choices


def test_a_grant_has_no_model_no_scope_and_no_label_beyond_its_own(house: House, ruled: Ruled) -> None:
    secret, _ = house.keys.create("granted", scopes=frozenset(SCOPES), clearance=Label.RESTRICTED)
    rights = Rights(
        task="nightly", lasts_s=HOUR_S, models=("route",), scopes=frozenset({"infer"}), clearance=Label.PUBLIC
    )
    grant, _ = house.keys.grant(secret[:SHOWN], rights)
    assert classify(ruled, grant).status_code == 200
    with pytest.raises(openai.PermissionDeniedError, match="'nightly' is for route alone, not for complete") as refused:
        complete(ruled, grant)
    assert house.entry(str(refused.value.request_id)).denied_by.startswith("model-above-key,outside-grant")
    with pytest.raises(openai.PermissionDeniedError, match="lacks the scope 'versions'"):
        complete(ruled, grant, model="route@1")
    with pytest.raises(openai.PermissionDeniedError):
        complete(ruled, grant, extra_headers={"x-tokenworks-label": "internal"})
    assert complete(ruled, secret).choices


def test_what_a_grant_spends_its_key_has_spent(house: House, ruled: Ruled) -> None:
    secret, key = house.keys.create("granted")
    grants = [house.keys.grant(secret[:SHOWN], Rights(task="nightly", lasts_s=HOUR_S))[0] for _ in range(2)]
    subject = Subject(key=key.name_id)
    house.limits.set(Limit(subject=subject, requests_per_minute=2))
    time.sleep(FRESH_S)
    try:
        assert [classify(ruled, one).status_code for one in grants] == [200, 200]
        assert classify(ruled, grants[0]).status_code == 429
    finally:
        house.limits.drop(subject)
