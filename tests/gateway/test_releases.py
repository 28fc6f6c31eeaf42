"""The view of releases: current within a moment, and the catalog left in peace meanwhile."""

from __future__ import annotations

from tokenworks.core.model import ModelVersion, Release
from tokenworks.gateway.releases import CatalogReleases
from tokenworks.store.catalog import Catalog


def add(catalog: Catalog, folder: str) -> int:
    about = {"licence": "MIT", "owner": "mailto:a@example.org", "base": "", "stage_key": "", "evaluation": ""}
    version = ModelVersion(model="route", version=0, folder=folder * 64, kind="classify", label="internal", **about)
    return catalog.models.add(version).version


def point(catalog: Catalog, version: int, action: str = "promote") -> None:
    number = len(catalog.releases.history("route"))
    step = {"action": action, "reason": "test", "by": "test", "at": float(number + 1)}
    catalog.releases.apply(Release(id=f"rel-{number}", alias="route", model="route", version=version, **step))


async def test_an_alias_is_answered_by_what_was_released_last(catalog: Catalog) -> None:
    first, second = add(catalog, "1"), add(catalog, "2")
    point(catalog, first)
    releases = CatalogReleases(catalog.releases, catalog.models, fresh_s=0)
    assert (await releases.current("route")).ref == "route@1"
    point(catalog, second)
    assert (await releases.current("route")).ref == "route@2"
    assert releases.refs == {"route@2"}


async def test_a_release_of_this_process_is_seen_at_once(catalog: Catalog) -> None:
    first, second = add(catalog, "1"), add(catalog, "2")
    point(catalog, first)
    releases = CatalogReleases(catalog.releases, catalog.models, fresh_s=3600)
    await releases.current("route")
    point(catalog, second)
    assert (await releases.current("route")).ref == "route@1"
    releases.forget()
    assert (await releases.current("route")).ref == "route@2"


async def test_a_withdrawn_alias_is_answered_by_nothing(catalog: Catalog) -> None:
    point(catalog, add(catalog, "1"))
    point(catalog, 0, "withdraw")
    releases = CatalogReleases(catalog.releases, catalog.models)
    assert await releases.current("route") is None
    assert await releases.all() == {}


async def test_a_version_is_known_whether_released_or_not(catalog: Catalog) -> None:
    add(catalog, "1")
    releases = CatalogReleases(catalog.releases, catalog.models)
    served = await releases.version("route@1")
    assert (served.label, served.kind, served.owner) == ("internal", "classify", "mailto:a@example.org")
    for ref in ("route@2", "other@1", "route@x", "@", "route@"):
        assert await releases.version(ref) is None
