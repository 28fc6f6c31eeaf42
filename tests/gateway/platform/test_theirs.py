"""What a caller sees of the catalog's objects."""

from __future__ import annotations

import pytest

from tokenworks.core.label import Label
from tokenworks.gateway.platform.theirs import all_theirs, one_theirs
from tokenworks.governance.keys import Principal
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

TENANTS = ("acme", "other")


@pytest.fixture
def objects(catalog: Catalog) -> Objects:
    for tenant in TENANTS:
        for label in Label:
            name, body = f"{tenant}-{label}", {"label": str(label)}
            catalog.objects.add(Object(kind="thing", id=name, scope=tenant, body=body, created_at=1.0))
    return catalog.objects


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize("clearance", Label)
def test_a_caller_sees_its_own_up_to_its_clearance_in_lists_and_by_name(
    objects: Objects, tenant: str, clearance: Label
) -> None:
    who = Principal(key_id="tw-1", tenant=tenant, clearance=clearance)
    wanted = {f"{tenant}-{label}" for label in Label if label <= clearance}
    assert {one.id for one in all_theirs(objects, "thing", who)} == wanted
    names = [f"{each}-{label}" for each in TENANTS for label in Label]
    assert {name for name in names if one_theirs(objects, "thing", name, who) is not None} == wanted
    assert one_theirs(objects, "another", f"{tenant}-public", who) is None
