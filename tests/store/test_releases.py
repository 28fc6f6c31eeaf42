"""Which model answered, when, and why; and who may be released."""

from __future__ import annotations

import threading

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import NotFoundError, RefusedError
from tokenworks.core.ids import sha256_hex
from tokenworks.core.model import ModelVersion, Release
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import CatalogTask


def _register(catalog: Catalog, owner: str = "mailto:a@example.org", count: int = 3) -> None:
    for number in range(count):
        catalog.models.add(
            ModelVersion(
                model="route",
                version=0,
                folder=sha256_hex(str(number).encode()),
                kind="classify",
                label="internal",
                licence="",
                owner=owner,
                base="minilm",
                stage_key="",
                evaluation="",
            )
        )


def _release(id: str = "rel-1", version: int = 1, at: float = 100.0, **changes: object) -> Release:
    release = Release(
        id=id,
        alias="route",
        model="route",
        version=version,
        action="promote",
        reason="won",
        by="gate",
        at=at,
        evidence="v",
    )
    return msgspec.structs.replace(release, **changes)


def test_the_past_can_be_asked_which_model_was_in_production_and_why(catalog: Catalog) -> None:
    _register(catalog)
    steps = [
        _release("rel-1", 1, 100.0),
        _release("rel-2", 2, 200.0, reason="+3 points"),
        _release("rel-3", 1, 300.0, action="rollback", reason="complaints"),
        _release("rel-4", 0, 400.0, action="withdraw"),
    ]
    for step in steps:
        catalog.releases.apply(step)
    asked = [catalog.releases.at("route", time) for time in (99.9, 100.0, 199.0, 200.0, 350.0, 1e12)]
    assert asked == [None, steps[0], steps[0], steps[1], steps[2], steps[3]]
    assert catalog.releases.current("route") == steps[3]
    assert catalog.releases.history("route") == steps
    assert catalog.releases.current("other") is None


def test_applying_a_release_again_changes_nothing(catalog: Catalog) -> None:
    _register(catalog)
    catalog.releases.apply(_release("rel-1", 1))
    catalog.releases.apply(_release("rel-2", 2))
    catalog.releases.apply(_release("rel-1", 1))
    assert catalog.releases.current("route") == _release("rel-2", 2)
    assert len(catalog.releases.history("route")) == 2


def test_a_clock_set_back_does_not_bring_an_old_release_into_force(catalog: Catalog) -> None:
    _register(catalog)
    catalog.releases.apply(_release("rel-1", 1, at=500.0))
    catalog.releases.apply(_release("rel-2", 2, at=400.0))
    current = catalog.releases.current("route")
    assert current is not None
    assert current.version == 2


def test_while_one_decides_and_writes_nobody_else_does(catalog: Catalog) -> None:
    _register(catalog)
    seen: list[list[Release]] = []

    def other() -> None:
        with catalog.releases.alone() as releases:
            seen.append(releases.history("route"))
            releases.apply(_release("rel-2", 2))

    with catalog.releases.alone() as releases:
        waiting = threading.Thread(target=other)
        waiting.start()
        waiting.join(0.2)
        assert seen == []
        releases.apply(_release("rel-1", 1))
        assert catalog.releases.current("route") is None  # readers wait for nobody
    waiting.join()
    assert seen == [[_release("rel-1", 1)]]
    assert [step.id for step in catalog.releases.history("route")] == ["rel-1", "rel-2"]


def test_what_is_refused_after_all_leaves_nothing_behind(catalog: Catalog) -> None:
    _register(catalog)

    def half() -> None:
        with catalog.releases.alone() as releases:
            releases.apply(_release("rel-1", 1))
            releases.apply(_release("rel-2", 9))

    with pytest.raises(NotFoundError, match="route@9"):
        half()
    assert catalog.releases.history("route") == []


def test_a_step_that_comes_late_takes_its_place_in_time(catalog: Catalog) -> None:
    _register(catalog)
    steps = [_release(f"rel-{number}", number, at=100.0 * number) for number in (1, 2, 3)]
    for number in (0, 2, 1, 1):
        catalog.releases.catch_up(steps[number])
    assert catalog.releases.history("route") == steps
    assert catalog.releases.current("route") == steps[2]


def test_neither_an_unknown_version_nor_an_unknown_candidate_goes_on_trial(catalog: Catalog) -> None:
    _register(catalog)
    trial = _release("rel-1", 1, action="canary", canary=9, share=0.1, mode="canary")
    with pytest.raises(NotFoundError, match="route@9 does not exist"):
        catalog.releases.check(trial)
    catalog.releases.check(msgspec.structs.replace(trial, canary=3))


def test_each_alias_has_its_own_current_release(catalog: Catalog) -> None:
    _register(catalog)
    catalog.releases.apply(_release("rel-1", 1))
    catalog.releases.apply(_release("rel-2", 3, alias="canary"))
    catalog.releases.apply(_release("rel-3", 2))
    found = [(release.alias, release.version) for release in catalog.releases.all_current()]
    assert found == [("canary", 3), ("route", 2)]


def test_a_task_without_owner_cannot_release(catalog: Catalog) -> None:
    _register(catalog)
    catalog.tasks.put(CatalogTask(name="route", kind="classify"))
    for ask in (catalog.releases.check, catalog.releases.apply):
        with pytest.raises(RefusedError, match=r"task route.*no owner; add owner = \"mailto:"):
            ask(_release())
    assert catalog.releases.history("route") == []
    catalog.tasks.put(CatalogTask(name="route", kind="classify", owner="mailto:a@example.org"))
    catalog.releases.check(_release())


def test_a_model_without_task_needs_an_owner_of_its_own(catalog: Catalog) -> None:
    _register(catalog, owner="")
    with pytest.raises(RefusedError, match="route@1"):
        catalog.releases.apply(_release())


def test_an_unknown_version_cannot_be_released(catalog: Catalog) -> None:
    _register(catalog)
    for ask in (catalog.releases.check, catalog.releases.apply):
        with pytest.raises(NotFoundError, match=r"route@9 does not exist; there are: route@1, route@2, route@3"):
            ask(_release(version=9))


def test_taking_a_model_out_of_service_is_always_allowed(catalog: Catalog) -> None:
    catalog.releases.apply(_release(version=0, action="withdraw"))
    current = catalog.releases.current("route")
    assert current is not None
    assert current.version == 0


def test_a_release_once_in_force_stays_when_its_task_loses_the_owner(catalog: Catalog) -> None:
    _register(catalog)
    catalog.releases.apply(_release())
    catalog.tasks.put(CatalogTask(name="route", kind="classify"))
    catalog.releases.apply(_release())
    assert catalog.releases.rebuild([_release(), _release("rel-2", 2)]) == 2
    assert len(catalog.releases.history("route")) == 2


steps = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["a", "b"]), st.integers(0, 3), st.floats(0, 100)), max_size=12
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_view_rebuilt_from_the_log_equals_the_one_kept_step_by_step(
    catalog: Catalog, steps: list[tuple[int, str, int, float]]
) -> None:
    first: dict[int, Release] = {}
    for id, alias, version, at in steps:
        first.setdefault(id, _release(f"rel-{id}", version, at, alias=alias))
    log = [first[id] for id, *_ in steps]
    _register(catalog)
    catalog.releases.rebuild([])
    for release in log:
        catalog.releases.apply(release)
    kept = [catalog.releases.history(alias) for alias in ("a", "b")]
    assert catalog.releases.rebuild(log) == len(first)
    assert [catalog.releases.history(alias) for alias in ("a", "b")] == kept
