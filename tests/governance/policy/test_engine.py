"""Policies in Cedar: today's label rule exactly, an operator's own beside it, and denial where anything is amiss."""

from __future__ import annotations

import itertools

import pytest

from tokenworks.core.destination import Destination
from tokenworks.core.errors import ConfigError, RefusedError
from tokenworks.core.label import Label
from tokenworks.governance.keys import SCOPES, Principal
from tokenworks.governance.labels import answer_label, cleared, outgoing_label
from tokenworks.governance.policy.engine import FAILED, Policies
from tokenworks.governance.policy.questions import SERVICES, Model, Question

BUILT_IN = Policies()


def ask(
    prompt: Label = Label.PUBLIC,
    *,
    model: Label = Label.PUBLIC,
    clearance: Label = Label.INTERNAL,
    place: Destination | None = None,
    hour: int = 12,
    tenant: str = "default",
) -> Question:
    return Question(
        action="infer" if place is None else "send",
        who=Principal(key_id="tw-tests", tenant=tenant, clearance=clearance),
        hour_of_week=hour,
        model=Model(name="m", version="m@1", label=model),
        prompt=prompt,
        destination=place,
    )


def cloud(clearance: Label) -> Destination:
    return Destination(name="cloud", region="eu", clearance=str(clearance))


def rule_allows(prompt: Label, model: Label, clearance: Label, accepts: Label) -> bool:
    try:
        outgoing_label(prompt, accepts=accepts, clearance=clearance, name="m")
        answer_label(prompt, model, clearance=clearance, name="m")
    except RefusedError:
        return False
    return not cleared(cloud(accepts), prompt)


def test_the_built_in_policies_are_the_label_rule_over_every_combination() -> None:
    outcomes = set()
    for prompt, model, clearance, accepts in itertools.product(Label, repeat=4):
        asked = ask(prompt, model=model, clearance=clearance)
        sent = ask(prompt, model=model, clearance=clearance, place=cloud(accepts))
        allowed = BUILT_IN.decide(asked).allowed and BUILT_IN.decide(sent).allowed
        assert allowed == rule_allows(prompt, model, clearance, accepts), (prompt, model, clearance, accepts)
        outcomes.add(allowed)
    assert outcomes == {True, False}


@pytest.mark.parametrize("action", SERVICES)
def test_a_service_is_for_keys_with_its_scope_and_nobody_else(action: str) -> None:
    for scopes in (frozenset({action}), frozenset(SCOPES) - {action}):
        who = Principal(key_id="tw-tests", tenant="default", scopes=scopes)
        decision = BUILT_IN.decide(Question(action=action, who=who, hour_of_week=0))
        assert decision.allowed == (action in scopes)
    assert decision.why.startswith("denied because no policy permits it: key tw-tests of tenant default")


def test_a_denial_names_the_policy_the_label_and_the_destination() -> None:
    question = ask(Label.CONFIDENTIAL, clearance=Label.RESTRICTED, place=cloud(Label.INTERNAL))
    decision = BUILT_IN.decide(question)
    assert decision.policies == ("destination-not-cleared",)
    assert decision.why.startswith(
        "denied by policy destination-not-cleared because the answer would carry confidential, "
        "since the prompt counts as confidential, and cloud is cleared for internal"
    )


def test_an_operators_policy_denies_in_its_own_words_when_and_where_it_says() -> None:
    mine = """
        @id("weekend") @reason("nobody asks at weekends")
        forbid(principal in Tenant::"acme", action, resource) when { context.weekday > 5 };
        @id("eu-only") forbid(principal, action == Action::"send", resource)
        when { context.destination.leaves_site && context.destination.region != "eu" };
    """
    policies = Policies({"mine.cedar": mine})
    saturday, friday = 5 * 24, 5 * 24 - 1
    assert policies.decide(ask(hour=saturday, tenant="acme")).why == (
        "denied by policy weekend because nobody asks at weekends"
    )
    assert policies.decide(ask(hour=friday, tenant="acme")).allowed
    assert policies.decide(ask(hour=saturday, tenant="other")).allowed
    assert policies.decide(ask(place=cloud(Label.PUBLIC))).allowed
    away = Destination(name="far", region="us", clearance="restricted")
    assert policies.decide(ask(place=away)).policies == ("eu-only",)
    assert policies.decide(ask(place=Destination(name="m@1"))).allowed


def test_no_permit_of_an_operator_lifts_a_label() -> None:
    policies = Policies({"all.cedar": '@id("all") permit(principal, action, resource);'})
    assert policies.decide(ask(model=Label.RESTRICTED)).policies == ("model-above-key",)


def test_a_policy_that_cannot_be_evaluated_denies() -> None:
    text = '@id("far") forbid(principal, action, resource) when { context.weekday * 9223372036854775807 > 9 };'
    decision = Policies({"x.cedar": text}).decide(ask(hour=24))
    assert (decision.allowed, decision.policies) == (False, (FAILED,))
    assert "could not be evaluated" in decision.why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forbid(", "cannot be read"),
        ('@id("x") forbid(principal, action, resource) when { resource.lable > 1 };', "do not fit the schema"),
        ('@id("x") forbid(principal, action, resource) when { context.prompt > 1 };', "do not fit the schema"),
        ("forbid(principal, action, resource);", "has no name"),
        ('@id("ask-models") forbid(principal, action, resource);', "exists in built in already"),
        ('@id("x") forbid(principal == ?principal, action, resource);', "hold a template"),
    ],
)
def test_policies_that_are_wrong_are_refused_with_their_file(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.cedar.*{message}"):
        Policies({"mine.cedar": text})


def test_a_set_is_named_by_all_that_stands_in_it() -> None:
    night = '@id("night") forbid(principal, action, resource) when { context.hour < 6 };'
    sets = [
        Policies(),
        Policies({"a.cedar": night}),
        Policies({"b.cedar": night}),
        Policies({"a.cedar": night.replace("6", "7")}),
        Policies({"labels.toml": '[tenants]\nacme = "internal"\n'}),
    ]
    assert len({one.digest for one in sets}) == len(sets)
    assert Policies({"a.cedar": night}).digest == sets[1].digest


def test_a_floor_is_of_the_tenant_or_the_key_and_the_higher_wins() -> None:
    policies = Policies({"labels.toml": '[tenants]\nacme = "internal"\n[keys]\ntw-one = "confidential"\n'})
    floors = [
        policies.floor(Principal(key_id=key, tenant=tenant))
        for key, tenant in [("tw-two", "other"), ("tw-two", "acme"), ("tw-one", "acme"), ("tw-one", "other")]
    ]
    assert floors == [Label.PUBLIC, Label.INTERNAL, Label.CONFIDENTIAL, Label.CONFIDENTIAL]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tenants]\nacme = "secretive"', "label 'secretive' does not exist"),
        ('[tenant]\nacme = "internal"', "unknown key 'tenant'"),
        ("[tenants", "not valid TOML"),
    ],
)
def test_floors_that_are_wrong_are_refused_with_their_file(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"labels\.toml.*{message}"):
        Policies({"labels.toml": text})
