"""A model of one tenant does not exist for the keys of another."""

import time

import openai
import pytest

from tokenworks.core.label import Label
from tokenworks.core.model import ModelVersion, Release
from tokenworks.governance.keys import SCOPES


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
