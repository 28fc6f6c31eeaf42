"""Every noun goes in and comes out as it was, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from tokenworks.core.errors import ConflictError, NotFoundError
from tokenworks.core.ids import sha256_hex
from tokenworks.core.model import ModelVersion
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import CatalogTask, Key, Object, Owner, Run, Source, StageResult, Tenant


def _version(folder: str = "f1", **changes: object) -> ModelVersion:
    version = ModelVersion(
        model="route",
        version=0,
        folder=sha256_hex(folder.encode()),
        kind="classify",
        label="internal",
        licence="Apache-2.0",
        owner="mailto:a@example.org",
        base="minilm",
        stage_key="k",
        evaluation="e",
        parameters=3_000_000_000,
        created_at=5.5,
    )
    return msgspec.structs.replace(version, **changes)


def test_a_tenant_can_be_replaced(catalog: Catalog) -> None:
    catalog.tenants.put(Tenant(name="b", created_at=1.0))
    catalog.tenants.put(Tenant(name="a", created_at=2.0))
    catalog.tenants.put(Tenant(name="b", created_at=3.0))
    assert catalog.tenants.all() == [Tenant(name="a", created_at=2.0), Tenant(name="b", created_at=3.0)]


def test_a_key_is_found_by_its_hash_and_dies_when_revoked(catalog: Catalog) -> None:
    key = Key(
        hash=sha256_hex(b"tw-secret"), prefix="tw-se", tenant="a", name="ci", scopes=("chat", "admin"), expires_at=9.0
    )
    catalog.keys.put(key)
    assert catalog.keys.find(key.hash) == key
    assert catalog.keys.find("unknown") is None
    assert (key.valid_at(8.9), key.valid_at(9.0)) == (True, False)
    catalog.keys.revoke(key.hash, at=5.0)
    catalog.keys.revoke(key.hash, at=7.0)
    found = catalog.keys.find(key.hash)
    assert found is not None
    assert found.revoked_at == 5.0
    assert (found.valid_at(4.9), found.valid_at(5.0)) == (True, False)
    with pytest.raises(NotFoundError, match="no key"):
        catalog.keys.revoke("unknown", at=1.0)


def test_keys_are_listed_by_tenant(catalog: Catalog) -> None:
    for number, tenant in enumerate(["a", "b", "a"]):
        catalog.keys.put(Key(hash=str(number), prefix="", tenant=tenant, name="", created_at=-number))
    assert [key.hash for key in catalog.keys.all("a")] == ["2", "0"]
    assert len(catalog.keys.all()) == 3


def test_a_task_brings_its_owner_and_deputy_along(catalog: Catalog) -> None:
    catalog.owners.put(Owner(address="mailto:a", name="Ada", since=1.0))
    task = CatalogTask(
        name="route",
        kind="classify",
        owner="mailto:a",
        deputy="mailto:b",
        spec={"task": {"ä": [1, None]}},
        updated_at=2.0,
    )
    catalog.tasks.put(task)
    assert catalog.tasks.get("route") == task
    assert catalog.tasks.get("other") is None
    catalog.tasks.put(msgspec.structs.replace(task, label="restricted"))
    assert [found.label for found in catalog.tasks.all()] == ["restricted"]
    assert catalog.owners.all() == [
        Owner(address="mailto:a", name="Ada", since=1.0),
        Owner(address="mailto:b", since=2.0),
    ]
    assert catalog.owners.get("mailto:c") is None


def test_sources_are_replaced_as_a_whole(catalog: Catalog) -> None:
    sources = [Source(task="t", name=name, path=f"/{name}", label="public", licence="MIT") for name in ("b", "a")]
    catalog.sources.put("t", sources)
    assert catalog.sources.of("t") == sources[::-1]
    catalog.sources.put("t", sources[:1])
    assert catalog.sources.of("t") == sources[:1]
    catalog.sources.put("t", [])
    assert catalog.sources.of("t") == []
    with pytest.raises(ConflictError, match="'t'"):
        catalog.sources.put("other", sources)


def test_corpora_are_numbered_and_an_equal_one_is_no_new_version(catalog: Catalog) -> None:
    def add(digest: str, at: float) -> int:
        corpora = catalog.corpora
        return corpora.add("t", digest=digest, label="internal", documents=3, bytes=1 << 40, at=at).version

    assert [add("d1", 1.0), add("d1", 2.0), add("d2", 3.0), add("d1", 4.0)] == [1, 1, 2, 3]
    assert [(found.version, found.digest, found.bytes) for found in catalog.corpora.of("t")][-1] == (3, "d1", 1 << 40)
    latest = catalog.corpora.latest("t")
    assert latest is not None
    assert latest.created_at == 4.0
    assert catalog.corpora.latest("other") is None


def test_datasets_are_numbered_per_task(catalog: Catalog) -> None:
    first = catalog.datasets.add("t", train="a", gold="g", rows=10, label="internal", at=1.0)
    again = catalog.datasets.add("t", train="a", gold="g", rows=10, label="internal", at=2.0)
    more = catalog.datasets.add("t", train="b", gold="g", rows=12, label="internal", at=3.0)
    other = catalog.datasets.add("u", train="a", gold="g", rows=10, label="internal", at=4.0)
    assert (first, more.version, other.version) == (again, 2, 1)
    assert catalog.datasets.of("t") == [first, more]


def test_a_stage_result_is_a_cache_entry_and_leads_back_to_its_inputs(catalog: Catalog) -> None:
    made = StageResult(
        key="k1",
        stage="ingest",
        task="t",
        inputs={"listing": "l"},
        outputs={"documents": "d", "report": "r", "copy": "d"},
        params={"processes": 2, "sources": [["a", "b"]]},
        seconds=1.5,
        finished_at=10.0,
    )
    catalog.stages.put(made)
    catalog.stages.put(made)
    later = StageResult(
        key="k2", stage="curate", task="t", inputs={"documents": "d"}, outputs={"corpus": "c"}, finished_at=11.0
    )
    catalog.stages.put(later)
    assert catalog.stages.get("k1") == made
    assert catalog.stages.get("k9") is None
    assert catalog.stages.of("t") == [made, later]
    assert catalog.stages.producers("d") == [made]
    assert catalog.stages.producers("c")[0].inputs == {"documents": "d"}
    assert catalog.stages.producers("l") == []


def test_a_run_tells_where_it_is_and_how_it_ended(catalog: Catalog) -> None:
    catalog.runs.start(Run(id="run-1", task="t", started_at=1.0))
    catalog.runs.enter("run-1", "train")
    assert (catalog.runs.get("run-1").status, catalog.runs.get("run-1").stage) == ("running", "train")
    catalog.runs.finish("run-1", at=2.0, error="disk full")
    catalog.runs.start(Run(id="run-2", task="t", started_at=3.0))
    catalog.runs.finish("run-2", at=4.0)
    assert [(run.status, run.error) for run in catalog.runs.of("t")] == [("failed", "disk full"), ("done", "")]
    assert catalog.runs.latest("t") == catalog.runs.get("run-2")
    assert catalog.runs.latest("other") is None
    for ask in (lambda: catalog.runs.get("run-9"), lambda: catalog.runs.finish("run-9", at=1.0)):
        with pytest.raises(NotFoundError, match="run-9"):
            ask()


def test_model_versions_are_numbered_and_found_by_their_ref(catalog: Catalog) -> None:
    first, second = catalog.models.add(_version("f1")), catalog.models.add(_version("f2"))
    assert (first.ref, second.ref) == ("route@1", "route@2")
    assert first == _version("f1", version=1)
    assert catalog.models.add(_version("f1", created_at=99.0)) == first
    assert catalog.models.add(_version("f3")).version == 3
    assert catalog.models.find("route@2") == second
    assert catalog.models.latest("route") == catalog.models.get("route", 3)
    assert [found.version for found in catalog.models.of("route")] == [1, 2, 3]
    assert catalog.models.latest("other") is None
    assert catalog.models.names() == ["route"]


def test_an_unknown_model_version_is_refused_with_those_that_exist(catalog: Catalog) -> None:
    catalog.models.add(_version())
    with pytest.raises(NotFoundError, match="route@7 does not exist; there are: route@1"):
        catalog.models.get("route", 7)
    with pytest.raises(NotFoundError, match="train it first"):
        catalog.models.find("other@1")
    for ref in ("route", "route@", "@1", "route@x", ""):
        with pytest.raises(NotFoundError, match="name@number"):
            catalog.models.find(ref)


def test_versions_registered_at_once_get_different_numbers(catalog: Catalog) -> None:
    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(lambda n: catalog.models.add(_version(f"f{n}")).version, range(24)))
    assert sorted(numbers) == list(range(1, 25))


def test_the_same_folder_registered_at_once_is_one_version(catalog: Catalog) -> None:
    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(lambda _: catalog.models.add(_version("same")).version, range(12)))
    assert versions == [1] * 12


def test_an_object_is_changed_by_one_writer_at_a_time(catalog: Catalog) -> None:
    first = Object(kind="job", id="j1", scope="a", body={"status": "queued"}, created_at=1.0)
    catalog.objects.add(first)
    with pytest.raises(ConflictError, match="j1 exists"):
        catalog.objects.add(first)
    changed = catalog.objects.update(msgspec.structs.replace(first, body={"status": "running"}))
    assert catalog.objects.get("job", "j1") == changed
    with pytest.raises(ConflictError, match="changed meanwhile"):
        catalog.objects.update(msgspec.structs.replace(first, body={"status": "cancelled"}))
    assert catalog.objects.get("job", "j1") == changed


def test_objects_are_listed_by_kind_and_scope_and_can_be_deleted(catalog: Catalog) -> None:
    for number, scope in enumerate("aba"):
        catalog.objects.add(Object(kind="file", id=f"f{number}", scope=scope, body={}, created_at=float(-number)))
    assert [one.id for one in catalog.objects.of("file", "a")] == ["f2", "f0"]
    assert [one.id for one in catalog.objects.of("file")] == ["f2", "f1", "f0"]
    assert catalog.objects.of("job") == []
    assert catalog.objects.delete("file", "f2")
    assert not catalog.objects.delete("file", "f2")
    assert catalog.objects.get("file", "f2") is None


def test_what_no_database_can_name_does_not_exist(catalog: Catalog) -> None:
    catalog.models.add(_version())
    assert catalog.objects.get("file", "f\0") is None
    for ref in ("route@" + "9" * 23, "route@" + "9" * 5000, "ro\0ute@1"):
        with pytest.raises(NotFoundError):
            catalog.models.find(ref)
