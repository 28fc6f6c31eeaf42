"""A model of one tenant does not exist for the keys of another."""

import time

import openai
import pytest

from tokenworks.core.label import Label
from tokenworks.core.model import ModelVersion, Release
from tokenworks.governance.keys import SCOPES
from tokenworks.ledger.bodies import named


@pytest.fixture(scope="module")
def keys(house):
    """The keys of two tenants, with a model that is the first one's alone."""
    mine, _ = house.keys.create("acme", scopes=SCOPES, clearance=Label.RESTRICTED)
    theirs, _ = house.keys.create("rival", scopes=SCOPES, clearance=Label.RESTRICTED)
    version = ModelVersion(
        model="ours", version=0, folder="1" * 64, kind="classify", label="internal", licence="", base="",
        owner="acme/local", stage_key="", evaluation="", tenant="acme",
    )  # fmt: skip
    house.catalog.models.add(version)
    release = {"action": "promote", "reason": "test", "by": "test", "at": time.time()}
    house.catalog.releases.apply(Release(id="rel-ours", alias="ours", model="ours", version=1, **release))
    house.releases.forget()
    return mine, theirs


def test_only_its_tenant_sees_the_model(house, keys):
    mine, theirs = keys
    assert "ours" in [one.id for one in house.openai(mine).models.list()]
    assert "ours" not in [one.id for one in house.openai(theirs).models.list()]


@pytest.mark.parametrize("name", ["ours", "ours@1"])
def test_for_others_it_does_not_exist_by_any_name(house, keys, name):
    with pytest.raises(openai.NotFoundError) as refusal:
        house.openai(keys[1]).embeddings.create(model=name, input="x")
    assert "'ours'" not in refusal.value.message.partition("there are")[2]
    with pytest.raises(openai.NotFoundError):
        house.openai(keys[1]).models.retrieve("ours")


def test_its_tenant_may_ask_it(house, keys):
    with pytest.raises(openai.InternalServerError) as refusal:  # found and allowed; the test has no folder for it
        house.openai(keys[0]).embeddings.create(model="ours", input="x")
    assert "no folder for ours@1" in refusal.value.message


def test_two_tenants_that_choose_the_same_request_id_have_a_text_and_feedback_each(house):
    secrets = {name: house.keys.create(name, scopes=SCOPES)[0] for name in ("north", "south")}
    for name, secret in secrets.items():
        body = {"model": "route", "input": f"card of {name}", "user": "ada"}
        asked = house.http(secret).post("/classify", json=body, headers={"x-request-id": "the-same-id-of-both"})
        assert (asked.status_code, asked.headers["x-request-id"]) == (200, "the-same-id-of-both")
    for name, secret in secrets.items():
        prompt, _ = house.bodies.get(named(name, "the-same-id-of-both"))
        assert f"card of {name}".encode() in prompt
        said = house.http(secret).post("/v1/feedback", json={"request_id": "the-same-id-of-both", "correction": name})
        assert said.status_code == 201, said.text
        shown = house.http(secret).get("/v1/feedback/the-same-id-of-both").json()["data"]
        assert [one["id"] for one in shown] == [said.json()["id"]]
    house.bodies.erase_requests([named("north", "the-same-id-of-both")])
    again = {name: house.http(secret).post("/v1/feedback", json={"request_id": "the-same-id-of-both", "rating": 1})
             for name, secret in secrets.items()}  # fmt: skip
    assert {name: one.status_code for name, one in again.items()} == {"north": 410, "south": 201}
    data = b"".join(path.read_bytes() for path in (house.home / "bodies").iterdir())
    assert b"card of" not in data
