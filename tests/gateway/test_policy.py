"""Policies at work in a gateway: refused at the door, in force without a restart, and on the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import openai
import pytest

from tokenworks.core.destination import Destination
from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.core.request import Request
from tokenworks.factory.checking import looking
from tokenworks.gateway.app import build
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, Reply, whole
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.authorise import Authorise, Look
from tokenworks.gateway.layers.classify import classify
from tokenworks.gateway.layers.identify import Identify
from tokenworks.gateway.looking import strings
from tokenworks.gateway.ruling import Rules
from tokenworks.gateway.server import serve
from tokenworks.governance.keys import SCOPES
from tokenworks.governance.policy.engine import Policies
from tokenworks.governance.policy.folder import InForce
from tokenworks.ledger.entries import PolicyEntry, RequestEntry

if TYPE_CHECKING:
    from .conftest import House

DENIED = """
@id("not-this-one") @reason("tenant denied may not ask it")
forbid(principal in Tenant::"denied", action == Action::"infer", resource == Model::"complete");
@id("no-search") forbid(principal in Tenant::"denied", action == Action::"search", resource);
"""
EU_ONLY = """
@id("eu-only") @reason("text leaves for the eu alone")
forbid(principal, action == Action::"send", resource) when {
  context.destination.leaves_site && context.destination.region != "eu"
};
"""


class Ruled:
    """Another face of the house, with policies of its own in a folder."""

    def __init__(self, house: House, rules: str = DENIED, folder: str = "policies") -> None:
        self.house, self.folder = house, house.home / folder
        self.folder.mkdir()
        (self.folder / "denied.cedar").write_text(rules)
        self.in_force = InForce(self.folder)
        self.clients: dict[str, openai.OpenAI] = {}
        self.server = house.run(self._begin())
        self.http = httpx.Client(base_url=self.server.address)

    async def _begin(self) -> Any:
        house = self.house
        self.gateway = build(replace(house.parts(), policies=self.in_force))
        return await serve(self.gateway.app, "127.0.0.1", 0, drain_s=5)

    def close(self) -> None:
        self.http.close()
        for client in self.clients.values():
            client.close()
        self.house.run(self.server.stop())

    def client(self, secret: str) -> openai.OpenAI:
        if secret not in self.clients:
            self.clients[secret] = openai.OpenAI(base_url=f"{self.server.address}/v1", api_key=secret, max_retries=0)
        return self.clients[secret]

    def until(self, condition: Callable[[], bool]) -> None:
        """Go on asking: files are looked at while requests come."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it never came to be"
            self.client(self.house.secret).completions.create(model="complete", prompt="x", max_tokens=1)
            time.sleep(0.05)


@pytest.fixture(scope="module")
def ruled(house: House) -> Iterator[Ruled]:
    made = Ruled(house)
    yield made
    made.close()


@pytest.mark.parametrize("name", ["complete", "complete@1"])
def test_a_model_that_a_policy_denies_is_denied_under_every_name(house: House, ruled: Ruled, name: str) -> None:
    secret, _ = house.keys.create("denied", scopes=frozenset(SCOPES))
    with pytest.raises(openai.PermissionDeniedError, match="because tenant denied may not ask it") as refused:
        ruled.client(secret).completions.create(model=name, prompt="hello")
    assert refused.value.code == "denied_by_policy"
    entry = house.entry(str(refused.value.request_id))
    assert (entry.outcome, entry.status, entry.denied_by) == ("refused", 403, "not-this-one")
    assert entry.policies == ruled.in_force.policies.digest


def test_an_answer_is_recorded_with_the_policies_that_allowed_it(house: House, ruled: Ruled) -> None:
    answer = ruled.client(house.secret).completions.create(model="complete", prompt="hello", max_tokens=2)
    entry = house.entry(str(answer._request_id))
    assert (entry.outcome, entry.policies, entry.denied_by) == ("ok", ruled.in_force.policies.digest, "")


def test_a_service_that_a_policy_denies_is_refused_and_recorded(house: House, ruled: Ruled) -> None:
    secret, _ = house.keys.create("denied", scopes=frozenset(SCOPES))
    with pytest.raises(openai.PermissionDeniedError, match="denied by policy no-search") as refused:
        ruled.client(secret).vector_stores.search("docs", query="card")
    assert house.entry(str(refused.value.request_id)).denied_by == "no-search"
    with pytest.raises(openai.NotFoundError):  # whom nobody denies gets as far as the search
        ruled.client(house.secret).vector_stores.search("docs", query="card")


def test_a_label_above_the_key_is_denied_by_a_policy_of_that_name(house: House) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="model 'secret' was trained on restricted data") as refused:
        house.openai().completions.create(model="secret", prompt="hello")
    assert house.entry(str(refused.value.request_id)).denied_by == "model-above-key"


def test_changed_files_are_in_force_without_a_restart_and_broken_ones_are_not(house: House, ruled: Ruled) -> None:
    path, before = ruled.folder / "stop.cedar", ruled.in_force.policies.digest
    secret, _ = house.keys.create("stopped")
    client = ruled.client(secret)
    client.completions.create(model="complete", prompt="x", max_tokens=1)
    path.write_text('@id("stop") forbid(principal in Tenant::"stopped", action, resource);')
    ruled.until(lambda: ruled.in_force.policies.digest != before)
    changed = ruled.in_force.policies.digest
    with pytest.raises(openai.PermissionDeniedError, match="denied by policy stop"):  # not what was remembered
        client.completions.create(model="complete", prompt="x", max_tokens=1)
    path.write_text("permit(")
    ruled.until(lambda: ruled.in_force.problem != "")
    shown = ruled.http.get("/readyz").json()
    assert (shown["policies"], shown["status"]) == ({"digest": changed, "state": "broken"}, "ready")
    with pytest.raises(openai.PermissionDeniedError, match="denied by policy stop"):
        client.completions.create(model="complete", prompt="x", max_tokens=1)
    path.unlink()
    ruled.until(lambda: ruled.in_force.policies.digest == before)
    client.completions.create(model="complete", prompt="x", max_tokens=1)
    written = [one for one in house.entries() if isinstance(one, PolicyEntry) and one.before]
    assert [(one.before, one.digest) for one in written] == [(before, changed), (changed, before)]
    assert "stop" in written[0].policies


def test_no_request_is_recorded_under_policies_that_the_ledger_does_not_know(house: House, ruled: Ruled) -> None:
    ruled.client(house.secret).completions.create(model="complete", prompt="x", max_tokens=1)
    known = {one.digest for one in house.entries() if isinstance(one, PolicyEntry)}
    used = {one.policies for one in house.entries() if isinstance(one, RequestEntry) and one.policies}
    assert used
    assert used <= known


class Asked:
    """The layers up to the decision, with an innermost that asks for destinations, as routing does."""

    def __init__(self, house: House, text: str, floors: str = "", look: Look | None = None) -> None:
        in_force = InForce()
        in_force.policies = Policies({"mine.cedar": text, "labels.toml": floors})
        authorise = Authorise(house.releases, Rules(in_force), look)
        self.house, self._stack = house, fold([Identify(house.keys), classify, authorise], self._sends)
        self.refusals: dict[str, str] = {}

    async def _sends(self, exchange: Exchange) -> Reply:
        self.exchange = exchange
        for place in self._places:
            self.refusals[place.name] = exchange.permits(place, exchange.outgoing)
        return Reply(status=200, body=b"{}")

    def ask(self, secret: str, label: str, *places: Destination, prompt: str = "hello") -> dict[str, str]:
        self._places = places
        body = msgspec.json.encode({"model": "complete", "prompt": prompt})
        exchange = Exchange(
            endpoint="completions", read=whole(body), request_id="req-1234", credential=secret, declared=label
        )

        async def handle() -> None:
            await self._stack(exchange)

        self.house.run(handle())
        return self.refusals


HERE = Destination(name="complete@1")
EU = Destination(name="eu", region="eu", clearance="internal")
US = Destination(name="us", region="us", clearance="internal")


def test_every_destination_is_asked_of_the_policies_in_force(house: House) -> None:
    asked = Asked(house, EU_ONLY)
    refusals = asked.ask(house.secret, "internal", HERE, EU, US)
    assert refusals == {
        "complete@1": "",
        "eu": "",
        "us": "denied by policy eu-only because text leaves for the eu alone",
    }
    ruling = asked.exchange.ruling
    assert ruling is not None
    assert ruling.denied_by == "eu-only"  # the last attempt decides what is written down


def test_undeclared_text_goes_to_an_engine_here_and_counts_as_the_most_it_could_be_elsewhere(house: House) -> None:
    public = Destination(name="cloud", region="eu", clearance="public")
    refusals = Asked(house, "").ask(house.secret, "", HERE, public, EU)
    assert (refusals["complete@1"], refusals["eu"]) == ("", "")  # the key is cleared for internal
    assert refusals["cloud"].startswith("denied by policy destination-not-cleared because the answer would carry")


def test_a_floor_counts_whatever_is_declared(house: House) -> None:
    floors = '[tenants]\ncareful = "confidential"\n'
    secret, _ = house.keys.create("careful", clearance=Label.RESTRICTED)
    for declared in ("public", ""):
        asked = Asked(house, "", floors)
        refusals = asked.ask(secret, declared, HERE, EU)
        assert refusals["complete@1"] == ""
        assert "destination-not-cleared" in refusals["eu"]
        assert asked.exchange.label is Label.CONFIDENTIAL


@pytest.mark.parametrize("filler", ["", "word " * 2000])  # looked at on the loop, and in a thread
def test_what_detectors_find_raises_the_label_and_nothing_lowers_it(house: House, filler: str) -> None:
    secret, _ = house.keys.create("found", clearance=Label.RESTRICTED)
    card = f"{filler} my card is 4111-1111-1111-1111"
    for declared, prompt, label in [("public", "hello", Label.INTERNAL), ("public", card, Label.RESTRICTED)]:
        asked = Asked(house, "", look=looking("raise"))
        refusals = asked.ask(secret, declared, HERE, EU, prompt=prompt)
        assert refusals["complete@1"] == ""
        assert bool(refusals["eu"]) == (label is Label.RESTRICTED)
        assert asked.exchange.label is label  # the model itself is internal
    with pytest.raises(ApiError, match="prompt counts as restricted"):
        Asked(house, "", look=looking("raise")).ask(house.secret, "public", HERE, prompt=card)


def test_detection_is_off_or_raises_and_nothing_else() -> None:
    assert looking("off") is None
    with pytest.raises(ConfigError, match=r"policy\.detect is 'on'"):
        looking("on")


@pytest.mark.parametrize("text", ['{"a": ["x", {"b": "y"}], "c": "z"}', '{"a": ["x", {"b": "\\u0079"}], "c": "z"}'])
def test_every_string_is_looked_at_whatever_its_escapes(text: str) -> None:
    assert strings(msgspec.json.decode(text)) == ["a", "x", "b", "y", "c", "z"]


def test_callers_in_process_are_ruled_as_any(house: House, ruled: Ruled) -> None:
    secret, _ = house.keys.create("denied")
    body = {"model": "complete", "prompt": "hello"}
    answer = house.run(ruled.gateway.answer(Request(endpoint="completions", body=body, key=secret)))
    assert answer.status == 403
