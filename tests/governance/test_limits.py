"""Which limits a request is under, and what cannot be meant."""

from __future__ import annotations

import pytest

from tokenworks.core.errors import ConfigError, NotFoundError
from tokenworks.core.priority import Priority
from tokenworks.governance.limits import Limit, Limits, Share, Subject, applying, of_grant, share
from tokenworks.store.nouns import Budget

ANN = Subject("acme", "tw-ann00001", "route")


def bounded(subject: Subject, amount: int = 1) -> Limit:
    return Limit(subject=subject, concurrency=amount)


def test_a_limit_for_each_is_counted_for_each_by_itself():
    found = applying([bounded(Subject(tenant="*")), bounded(Subject(key="*", model="route"))], ANN)
    assert [limit.subject for limit in found] == [Subject("acme"), Subject("", "tw-ann00001", "route")]


def test_an_exact_limit_replaces_the_one_for_each():
    rules = [bounded(Subject(tenant="acme"), 9), bounded(Subject(tenant="*"), 2)]
    for order in (rules, rules[::-1]):
        assert [limit.concurrency for limit in applying(order, ANN)] == [9]
        assert [limit.concurrency for limit in applying(order, Subject("other", "k", "m"))] == [2]


def test_a_project_is_limited_beside_its_tenant_and_told_from_the_same_name_elsewhere():
    web = ANN._replace(project="web")
    rules = [
        bounded(Subject("acme"), 9),
        bounded(Subject("*", project="*"), 2),
        bounded(Subject("acme", project="api")),
    ]
    assert {str(one.subject): one.concurrency for one in applying(rules, web)} == {
        "tenant=acme": 9,
        "tenant=acme project=web": 2,
    }
    elsewhere = applying(rules, web._replace(tenant="other"))
    assert [str(one.subject) for one in elsewhere] == ["tenant=other project=web"]
    assert [str(one.subject) for one in applying(rules, ANN)] == ["tenant=acme"]  # its key has no project
    exact = [bounded(Subject("acme", project="web"), 1), *rules]
    assert [one.concurrency for one in applying(exact, web) if one.subject.project] == [1]


def test_limits_of_others_do_not_apply_and_the_house_is_nobody():
    assert applying([bounded(Subject(tenant="other")), bounded(Subject(key="tw-bob00001"))], ANN) == []
    assert applying([bounded(Subject(tenant="*"))], Subject("house", "plant", "route")) == []


def test_shares_come_from_the_limit_that_names_most_exactly_and_take_no_bound_away():
    rules = [
        Limit(subject=Subject(tenant="*"), concurrency=5, weight=2.0, priority="standard"),
        Limit(subject=Subject(tenant="acme"), weight=3.0),
        Limit(subject=Subject(key="tw-ann00001"), priority="batch"),
    ]
    for order in (rules, rules[::-1]):
        assert share(order, ANN) == Share(3.0, Priority.BATCH)
        assert share(order, Subject("other", "k", "m")) == Share(2.0, Priority.STANDARD)
        assert share(order, Subject("house", "plant", "route")) == Share()
        assert [limit.concurrency for limit in applying(order, ANN)] == [5]


async def test_limits_are_kept_replaced_and_dropped(catalog):
    limits = Limits(catalog.objects, fresh_s=0.0)
    assert await limits.of(ANN) == []
    limits.set(bounded(Subject(tenant="acme"), 3))
    limits.set(bounded(Subject(tenant="acme"), 4))
    assert [limit.concurrency for limit in await limits.of(ANN)] == [4]
    limits.drop(Subject(tenant="acme"))
    assert await limits.of(ANN) == []
    with pytest.raises(NotFoundError, match="no limit is set for 'tenant=acme'"):
        limits.drop(Subject(tenant="acme"))


async def test_the_budget_of_a_grant_stands_beside_what_limits_its_key(catalog):
    limits, budget = Limits(catalog.objects), Budget(tokens=9, requests_per_minute=2)
    limits.set(bounded(Subject(tenant="acme"), 3))
    granted = ANN._replace(grant="tw-one")
    found, _ = await limits.terms(granted, budget)
    assert found == [*await limits.of(ANN), of_grant("tw-one", budget)]
    assert str(found[-1].subject) == "grant=tw-one"
    assert found[-1].has_budget
    assert (await limits.terms(granted, budget))[0] is found  # the same until limits are read anew
    (kept,) = catalog.objects.of("limit")
    assert len(kept.body["subject"]) == 4  # as it was before there were budgets of grants


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (Limit(subject=Subject(tenant="acme")), "bounds nothing"),
        (bounded(Subject(tenant="acme"), -1), "concurrency -1 for 'tenant=acme' is negative"),
        (Limit(subject=Subject(tenant="acme"), weight=0.0), "weight 0 for 'tenant=acme' is not above 0"),
        (Limit(subject=Subject(tenant="acme"), weight=float("nan")), "weight nan"),
        (Limit(subject=Subject(tenant="acme"), priority="urgent"), "none of interactive, standard, batch, flywheel"),
        (bounded(Subject(tenant="house")), "is the factory itself"),
        (bounded(Subject(tenant="a b")), "neither spaces"),
        (bounded(Subject(project="web")), "project 'web' is of a tenant"),
        (bounded(Subject(grant="tw-one")), "a grant has its budget from when it is made"),
        (Limit(subject=Subject(tenant="acme"), tokens_in_all=3), "a grant has its budget from when it is made"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(catalog, limit, says):
    with pytest.raises(ConfigError, match=says):
        Limits(catalog.objects).set(limit)
