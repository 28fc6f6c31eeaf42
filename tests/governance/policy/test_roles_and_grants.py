"""Policies that permit and deny by role, project, person and grant, and say so."""

from __future__ import annotations

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.governance.policy.cases import Facts, decide
from tokenworks.governance.policy.engine import Policies
from tokenworks.governance.principal import Principal

MINE = """
@id("payroll-run-only") @reason("payroll is asked in the payroll run alone")
forbid(principal, action in [Action::"infer", Action::"send"], resource == Model::"payroll")
unless { context has grant && context.grant == "payroll-run" };

@id("no-contractors") forbid(principal in Role::"contractor", action, resource);

@id("web-at-home") forbid(principal in Project::"acme/web", action == Action::"send", resource)
when { context.destination.leaves_site };

@id("auditors-search") permit(principal in Role::"auditor", action == Action::"search", resource);

@id("people-alone-tune") forbid(principal, action == Action::"tune", resource) when { principal.person == "" };
"""
POLICIES = Policies({"mine.cedar": MINE})


def by(**facts: object) -> tuple[bool, tuple[str, ...]]:
    decision = decide(POLICIES, Facts(**facts))  # type: ignore[arg-type]
    return decision.allowed, decision.policies


def test_a_grant_opens_what_nothing_else_does() -> None:
    assert by(model="payroll", roles=("admin",)) == (False, ("payroll-run-only",))
    assert by(model="payroll", grant="another") == (False, ("payroll-run-only",))
    assert by(model="payroll", grant="payroll-run") == (True, ("ask-models",))


def test_a_grant_for_some_models_is_for_these_alone_and_says_so() -> None:
    facts = Facts(model="other", grant="payroll-run", grant_models=("payroll", "route"))
    decision = decide(POLICIES, facts)
    assert (decision.allowed, decision.policies) == (False, ("outside-grant",))
    assert decision.why == (
        "denied by policy outside-grant because the grant for 'payroll-run' is for payroll, route alone, not for "
        "other: ask one of these, or for a grant that names it too"
    )
    assert by(model="route", grant="payroll-run", grant_models=("payroll", "route"))[0]
    with pytest.raises(ConfigError, match="grant_models are of a grant"):
        by(grant_models=("route",))


def test_a_role_denies_whatever_else_the_caller_is() -> None:
    decision = decide(POLICIES, Facts(roles=("admin", "contractor"), project="web"))
    assert (decision.allowed, decision.policies) == (False, ("no-contractors",))
    assert "(cleared for internal, project web, in the roles admin and contractor)" in decision.why
    assert by(roles=("admin",))[0]


def test_a_role_permits_what_the_scopes_do_not() -> None:
    assert by(action="search", scopes=(), roles=("auditor",)) == (True, ("auditors-search",))
    assert by(action="search", scopes=(), roles=("user",)) == (False, ())


def test_a_project_is_one_tenants() -> None:
    away = {"destination": "cloud", "region": "eu"}
    assert by(tenant="acme", project="web", **away) == (False, ("web-at-home",))
    assert by(tenant="other", project="web", **away)[0]
    assert by(tenant="acme", project="api", **away)[0]


def test_people_and_services_are_told_apart() -> None:
    assert by(action="tune", scopes=("tune",)) == (False, ("people-alone-tune",))
    assert by(action="tune", scopes=("tune",), person="person-1")[0]


def test_no_role_and_no_grant_lifts_a_label() -> None:
    everything = Policies({"all.cedar": '@id("all") permit(principal, action, resource);'})
    facts = Facts(model_label="restricted", roles=("admin",), grant="break-glass", grant_models=("example",))
    assert decide(everything, facts).policies == ("model-above-key",)


def test_prompts_of_a_project_count_as_its_floor() -> None:
    policies = Policies({"labels.toml": '[projects]\n"acme/web" = "confidential"'})
    assert policies.floor(Principal(key_id="k", tenant="acme", project="web")) is Label.CONFIDENTIAL
    assert policies.floor(Principal(key_id="k", tenant="other", project="web")) is Label.PUBLIC
    assert policies.floor(Principal(key_id="k", tenant="acme")) is Label.PUBLIC
