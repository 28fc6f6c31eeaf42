"""`tokenworks grant` and roles and grants in `tokenworks policy`, as an operator uses them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from system.processes import tokenworks
from tokenworks.factory import Factory
from tokenworks.governance.keys import SHOWN
from tokenworks.ledger.entries import RequestEntry


def test_a_grant_is_made_listed_and_ended(tmp_path: Path) -> None:
    with Factory(home=tmp_path) as factory:
        key = factory.new_key("ci", tenant="acme")[:SHOWN]
    rights = ("--for", "2h", "--scope", "infer", "--model", "route")
    made = json.loads(tokenworks(tmp_path, "--json", "grant", "new", "nightly", "--key", key, *rights).stdout)
    assert (made["of"], made["key"][:SHOWN]) == (key, made["grant"])
    listed = tokenworks(tmp_path, "grant", "list").stdout.splitlines()
    assert listed[1].split()[:4] == [made["grant"], key, "acme", "internal"]
    assert listed[1].split()[-7:] == ["infer", "route", "0", "tokens,", "0", "requests", "nightly"]
    assert tokenworks(tmp_path, "grant", "end", made["grant"]).stdout.strip() == f"ended {made['grant']}"
    with Factory(home=tmp_path) as factory:
        assert [one.revoked_at is None for one in factory.catalog.keys.all()] == [True, False]


def test_a_grant_is_made_with_a_budget_and_shows_what_it_came_to(tmp_path: Path) -> None:
    with Factory(home=tmp_path) as factory:
        key = factory.new_key("ci", tenant="acme")[:SHOWN]
    (tmp_path / "tokenworks.toml").write_text('[prices.models."*"]\ninput = 1.0\noutput = 2.0\n')
    priced = {**os.environ, "TOKENWORKS_CONFIG": str(tmp_path / "tokenworks.toml")}
    most = ("--money", "2.5", "--tokens", "90000", "--requests", "200")
    made = tokenworks(tmp_path, "grant", "new", "nightly", "--key", key, *most, env=priced)
    assert made.stdout.splitlines()[2] == "at most 90000 tokens, 2.5 money, 200 requests"
    grant = made.stdout[:SHOWN]
    with Factory(home=tmp_path) as factory:
        common = {"endpoint": "completions", "outcome": "ok", "status": 200, "tenant": "acme", "key_id": key}
        entry = RequestEntry(
            at=time.time(), request_id="req-1", grant=grant, engine="e", prompt_tokens=40, price_micro=30_000, **common
        )
        factory.ledger.append(entry)
    (listed,) = tokenworks(tmp_path, "grant", "list").stdout.splitlines()[1:]
    assert "40 of 90000 tokens, 0.03 of 2.5 money, 1 of 200 requests" in listed
    (shown,) = json.loads(tokenworks(tmp_path, "--json", "grant", "list").stdout)
    assert (shown["prefix"], shown["spent"]) == (grant, {"tokens": 40, "micro": 30_000, "requests": 1})
    assert shown["budget"]["money_micro"] == 2_500_000


def test_a_decision_by_role_and_by_grant_is_explained(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "payroll.cedar").write_text(
        '@id("payroll") @reason("payroll is for the payroll run, and for admins") '
        'forbid(principal, action, resource == Model::"payroll") '
        'unless { principal in Role::"admin" || (context has grant && context.grant == "run") };'
    )
    explain = ("policy", "explain", "payroll")
    denied = tokenworks(tmp_path, *explain, "--role", "user", "--grant", "other").stdout.strip()
    assert denied == "denied by policy payroll because payroll is for the payroll run, and for admins"
    allowed = tokenworks(tmp_path, *explain, "--grant", "run", "--role", "user").stdout
    assert "(cleared for internal, in the role user, with the grant for 'run')" in allowed
    outside = tokenworks(tmp_path, *explain, "--grant", "run", "--grant-model", "route").stdout
    assert outside.startswith("denied by policy outside-grant because the grant for 'run' is for route alone")
