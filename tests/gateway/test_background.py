"""Responses that nobody waits for, by the official client: queued, answered, cancelled, deleted, taken up again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import openai
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from patience import until
from tokenworks.core.label import Label
from tokenworks.gateway.app import Gateway, build
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.responses.kept import digest_of
from tokenworks.gateway.responses.waiting import WAITING
from tokenworks.governance.keys import SCOPES
from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import RequestEntry
from tokenworks.settings import PlatformSettings, ServerSettings
from tokenworks.store.artifacts import open_artifacts

if TYPE_CHECKING:
    from .conftest import House

OVER = ("completed", "incomplete", "failed", "cancelled")
ASKED: dict[str, Any] = {"model": "complete", "max_output_tokens": 8, "temperature": 0.0}
LONG: dict[str, Any] = {"model": "complete", "max_output_tokens": 2000, "input": "how do I", "temperature": 0.0}


class Faces:
    """Gateways over the same house, one after the other, as restarts are."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.gateways: list[Gateway] = []

    def begin(self, *, keep_bodies: bool = True, at_once: int = 4, home: str = "") -> str:
        house = self.house
        objects, artifacts = house.catalog.objects, open_artifacts(str(house.home / "a"), cache=house.home / "c")
        settings = PlatformSettings(background_concurrency=at_once)

        async def begin() -> str:
            platform = Parts(objects, artifacts, house.home / "uploads", home=home, settings=settings)
            records = house.records(keep_bodies=keep_bodies, idempotency=house.remembered)
            gateway = build(replace(house.parts(), records=records, platform=platform))
            self.gateways.append(gateway)
            return await house.face(gateway)

        return house.run(begin())

    def resume(self) -> None:
        self.house.run(self.gateways[-1].platform.resume())

    def end(self) -> None:
        self.house.run(self.gateways[-1].platform.close())


@pytest.fixture(scope="module")
def house(house: House, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house of this file's own: what its gateways answer is not among the figures of the one that all share."""
    made = type(house)(tmp_path_factory.mktemp("background"), {"complete@1": tiny_llama}, ServerSettings())
    try:
        made.release("complete", label="internal", kind="complete")
        made.run(made.pool.ready("complete@1"))
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def faces(house: House) -> Iterator[Faces]:
    made = Faces(house)
    yield made
    for gateway in made.gateways:
        house.run(gateway.platform.close())


@pytest.fixture(scope="module")
def url(faces: Faces) -> str:
    return faces.begin()


@pytest.fixture(scope="module")
def client(house: House, url: str) -> Iterator[openai.OpenAI]:
    with make(url, house.secret) as made:
        yield made


def make(url: str, secret: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)


def ended(client: openai.OpenAI, id: str) -> Any:
    return until(lambda: (found := client.responses.retrieve(id)).status in OVER and found)


def responses_since(house: House, at: float) -> list[RequestEntry]:
    return [one for one in house.entries() if isinstance(one, RequestEntry) and one.at >= at]


def test_it_is_queued_at_once_and_answered_as_if_somebody_had_waited(house: House, client: openai.OpenAI) -> None:
    began = time.time()
    raw = client.responses.with_raw_response.create(input="how do I", background=True, instructions="x", **ASKED)
    queued = raw.parse()
    assert (queued.status, queued.background, queued.output) == ("queued", True, [])
    done = ended(client, queued.id)
    same = client.responses.create(input="how do I", instructions="x", **ASKED)
    assert (done.id, done.created_at, done.background) == (queued.id, queued.created_at, True)
    assert (done.output_text, done.status, done.usage) == (same.output_text, same.status, same.usage)
    accepted, asked, _ = responses_since(house, began)
    assert (accepted.face, accepted.completion_tokens, accepted.version, accepted.learn) == ("background", 0, "", False)
    assert accepted.request_id == raw.headers["x-request-id"]
    assert (asked.face, asked.outcome, asked.completion_tokens) == ("responses", "ok", done.usage.output_tokens)
    assert (asked.key_id, asked.label, asked.version) == (house.key.id, "internal", "complete@1")
    assert house.catalog.objects.get(WAITING, queued.id) is None


def test_a_conversation_goes_on_from_it_but_not_before_it_is_answered(client: openai.OpenAI) -> None:
    first = client.responses.create(background=True, **LONG)
    with pytest.raises(openai.BadRequestError, match="only one that has an answer"):
        client.responses.create(input="and?", previous_response_id=first.id, **ASKED)
    client.responses.cancel(first.id)
    done = ended(client, client.responses.create(input="a card", background=True, **ASKED).id)
    second = ended(
        client, client.responses.create(input="and?", previous_response_id=done.id, background=True, **ASKED).id
    )
    roles = [item.role for item in client.responses.input_items.list(second.id, order="asc").data]
    assert roles == ["user", "assistant", "user"]
    assert second.previous_response_id == done.id


def test_cancelling_stops_the_engine_and_what_was_written_is_metered(house: House, client: openai.OpenAI) -> None:
    began = time.time()
    said = client.responses.create(background=True, **LONG)
    until(lambda: client.responses.retrieve(said.id).status == "in_progress")
    time.sleep(0.1)  # some tokens
    stopped = client.responses.cancel(said.id)
    assert (stopped.status, stopped.output) == ("cancelled", [])
    assert client.responses.cancel(said.id).status == "cancelled"
    until(lambda: house.pool._members["complete@1"].idle)  # the engine works on nothing
    entry = until(lambda: next((one for one in responses_since(house, began) if one.outcome == "cancelled"), None))
    assert 0 < entry.completion_tokens < 2000
    assert client.responses.retrieve(said.id).status == "cancelled"


def test_only_what_is_under_way_in_the_background_can_be_cancelled(client: openai.OpenAI) -> None:
    waited_for = client.responses.create(input="how", **ASKED)
    with pytest.raises(openai.BadRequestError, match="not created with background: true"):
        client.responses.cancel(waited_for.id)
    done = ended(client, client.responses.create(input="how", background=True, **ASKED).id)
    with pytest.raises(openai.BadRequestError, match=f"is {done.status}; it cannot be cancelled"):
        client.responses.cancel(done.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp-none")


@pytest.mark.parametrize("while_it_runs", [True, False])
def test_deleting_forgets_it_and_its_texts(house: House, client: openai.OpenAI, while_it_runs: bool) -> None:
    began = time.time()
    asked = LONG if while_it_runs else {"input": "how", **ASKED}
    said = client.responses.create(background=True, **asked)
    if while_it_runs:
        until(lambda: client.responses.retrieve(said.id).status == "in_progress")
    else:
        ended(client, said.id)
    client.responses.delete(said.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(said.id)
    outcome = "cancelled" if while_it_runs else "ok"
    until(lambda: [one.outcome for one in responses_since(house, began)] == ["ok", outcome])
    for entry in responses_since(house, began):
        assert house.bodies.get(named("default", entry.request_id)) is None


def test_what_the_stack_refuses_at_once_is_refused_at_once(house: House, client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client.responses.create(input="x", background=True, model="nothing")
    with pytest.raises(openai.PermissionDeniedError):
        make(url, house.keys.create("default", clearance=Label.PUBLIC)[0]).responses.create(
            input="x", background=True, **ASKED
        )
    before = house.entries()[-1]
    assert (before.outcome, before.face) == ("refused", "background")


def test_what_fails_later_says_why(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "name": "f", "parameters": {}, "strict": False}]
    failed = ended(client, client.responses.create(input="x", background=True, tools=tools, **ASKED).id)
    assert (failed.status, failed.error.code) == ("failed", "invalid_prompt")
    assert "tools is not supported here" in failed.error.message


def test_a_key_that_was_revoked_while_it_waited_asks_nothing(house: House, faces: Faces) -> None:
    client = make(faces.begin(at_once=2), house.secret)
    secret, key = house.keys.create("default", scopes=frozenset(SCOPES))
    first = client.responses.create(background=True, **LONG)
    second = make(str(client.base_url).removesuffix("/v1/"), secret).responses.create(background=True, **LONG)
    house.keys.revoke(key.id)
    client.responses.cancel(first.id)
    failed = ended(client, second.id)
    assert (failed.status, "revoked" in failed.error.message) == ("failed", True)
    faces.end()


def test_a_limit_that_is_reached_is_the_error_of_the_response(house: House, url: str) -> None:
    poor = make(url, house.keys.create("poor")[0])
    house.limits.set(Limit(subject=Subject(tenant="poor"), tokens_per_day=1))
    time.sleep(0.1)
    failed = ended(poor, poor.responses.create(input="how", background=True, **ASKED).id)
    assert (failed.status, failed.error.code) == ("failed", "rate_limit_exceeded")


def test_what_it_goes_on_from_counts_for_its_label(house: House, url: str) -> None:
    began, cleared = time.time(), make(url, house.keys.create("default", clearance=Label.RESTRICTED)[0])
    label = {"x-tokenworks-label": "confidential"}
    first = ended(cleared, cleared.responses.create(input="a", background=True, extra_headers=label, **ASKED).id)
    last = cleared.responses.create(input="b", background=True, previous_response_id=first.id, **ASKED)
    ended(cleared, last.id)
    assert [one.label for one in responses_since(house, began)] == ["confidential"] * 4


def test_a_deletion_that_a_kill_cut_short_is_finished(house: House, faces: Faces) -> None:
    client = make(faces.begin(home="cut"), house.secret)
    raw = client.responses.with_raw_response.create(background=True, **LONG)
    until(lambda: client.responses.retrieve(raw.parse().id).status == "in_progress")
    faces.end()
    waiting = house.catalog.objects.get(WAITING, raw.parse().id)
    kept = {**waiting.body["kept"], "status": "deleted"}
    house.catalog.objects.update(msgspec.structs.replace(waiting, body={**waiting.body, "kept": kept}))
    faces.begin(home="cut")
    faces.resume()
    assert house.catalog.objects.get(WAITING, raw.parse().id) is None
    assert house.bodies.get(named("default", raw.headers["x-request-id"])) is None
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(raw.parse().id)


def test_a_bounded_number_is_asked_at_a_time_and_the_others_wait(house: House, faces: Faces) -> None:
    client = make(faces.begin(at_once=2), house.secret)
    said = [client.responses.create(background=True, **LONG).id for _ in range(3)]
    until(lambda: any(client.responses.retrieve(id).status == "in_progress" for id in said))
    status = [client.responses.retrieve(id).status for id in said]
    assert status.count("in_progress") == 1  # half of them for one tenant
    other = make(str(client.base_url).removesuffix("/v1/"), house.keys.create("rival")[0])
    assert ended(other, other.responses.create(input="how", background=True, **ASKED).id).status == "incomplete"
    for id in said:
        client.responses.cancel(id)
    faces.end()


def test_what_a_process_left_is_taken_up_by_the_next(house: House, faces: Faces) -> None:
    client = make(faces.begin(at_once=2), house.secret)
    asked: dict[str, Any] = {**LONG, "max_output_tokens": 1000}
    first, second = (client.responses.create(background=True, **asked).id for _ in range(2))
    until(lambda: client.responses.retrieve(first).status == "in_progress")
    faces.end()
    again = make(faces.begin(), house.secret)
    assert [again.responses.retrieve(id).status for id in (first, second)] == ["in_progress", "queued"]
    faces.resume()
    texts = {ended(again, id).output_text for id in (first, second)}
    assert texts == {again.responses.create(**asked).output_text}


def test_what_another_home_accepted_is_left_to_it(house: House, faces: Faces) -> None:
    client = make(faces.begin(at_once=2, home="first"), house.secret)
    first, second = (client.responses.create(background=True, **LONG).id for _ in range(2))
    until(lambda: client.responses.retrieve(first).status == "in_progress")
    faces.end()
    faces.begin(home="second")
    faces.resume()
    time.sleep(0.2)
    assert client.responses.retrieve(second).status == "queued"
    faces.begin(home="first")
    faces.resume()
    until(lambda: client.responses.retrieve(second).status == "in_progress")
    for id in (first, second):
        client.responses.delete(id)


def test_what_another_process_cancelled_is_stopped_where_it_runs(house: House, faces: Faces) -> None:
    client, here = make(faces.begin(), house.secret), faces.gateways[-1]
    began = time.time()
    said = client.responses.create(background=True, **LONG)
    until(lambda: client.responses.retrieve(said.id).status == "in_progress")
    other = make(faces.begin(), house.secret)
    assert other.responses.cancel(said.id).status == "cancelled"
    assert not house.pool._members["complete@1"].idle
    house.run(here.platform.resume())
    entry = until(lambda: next((one for one in responses_since(house, began) if one.outcome == "cancelled"), None))
    assert entry.completion_tokens < 2000
    until(lambda: house.pool._members["complete@1"].idle)
    assert client.responses.retrieve(said.id).status == "cancelled"


def test_an_answer_that_was_written_before_a_kill_is_not_asked_again(house: House, faces: Faces) -> None:
    client = make(faces.begin(), house.secret)
    said = client.responses.create(input="how", background=True, **ASKED)
    done = ended(client, said.id)
    objects = house.catalog.objects
    house.wait_until(lambda: objects.get("response", said.id) is not None)
    answered = objects.get("response", said.id)
    accepted = house.bodies.get(named("default", answered.body["accepted_as"]))
    kept = {
        **answered.body,
        "request_id": answered.body["accepted_as"],
        "accepted_as": "",
        "status": "in_progress",
        "digest": digest_of(said.id, *accepted),
    }
    body = {
        "kept": kept,
        "tenant": "default",
        "home": "",
        "key_id": house.key.id,
        "asked_as": answered.body["request_id"],
    }
    objects.delete("response", said.id)
    objects.add(msgspec.structs.replace(answered, kind=WAITING, body=body))
    before = len(house.entries())
    faces.resume()
    assert ended(client, said.id).output == done.output
    assert len(house.entries()) == before


def test_what_is_erased_before_it_is_asked_fails_and_is_gone(house: House, faces: Faces) -> None:
    client = make(faces.begin(at_once=2), house.secret)
    first = client.responses.create(background=True, **LONG)
    raw = client.responses.with_raw_response.create(background=True, **LONG)
    house.bodies.erase_requests([named("default", raw.headers["x-request-id"])])
    client.responses.cancel(first.id)
    kept = until(lambda: (found := house.catalog.objects.get("response", raw.parse().id)) and found.body)
    assert (kept["status"], "no longer kept" in kept["error"]["message"]) == ("failed", True)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(raw.parse().id)


def test_one_idempotency_key_is_one_response(client: openai.OpenAI) -> None:
    key = {"idempotency-key": "background-once"}
    first, again = (client.responses.create(input="how", background=True, extra_headers=key, **ASKED) for _ in range(2))
    assert first.id == again.id
    with pytest.raises(openai.UnprocessableEntityError):
        client.responses.create(input="how", extra_headers=key, **ASKED)


def test_another_tenant_or_a_lower_clearance_sees_nothing(house: House, url: str) -> None:
    cleared = make(url, house.keys.create("default", clearance=Label.RESTRICTED)[0])
    said = cleared.responses.create(background=True, extra_headers={"x-tokenworks-label": "confidential"}, **LONG)
    for secret in (house.secret, house.keys.create("rival", clearance=Label.RESTRICTED)[0]):
        other = make(url, secret)
        for ask in (other.responses.retrieve, other.responses.delete, other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                ask(said.id)
    cleared.responses.cancel(said.id)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"store": False}, "needs a stored response"), ({"stream": True}, "stream: true together with background")],
)
def test_what_cannot_be_done_is_refused_by_name(client: openai.OpenAI, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.responses.create(input="x", background=True, **wrong, **ASKED)


def test_a_house_that_keeps_no_texts_refuses_it(house: House, faces: Faces) -> None:
    client = make(faces.begin(keep_bodies=False), house.secret)
    with pytest.raises(openai.BadRequestError, match="keeps no texts"):
        client.responses.create(input="x", background=True, **ASKED)


def test_every_state_is_as_published(house: House, url: str, data_folder: Path) -> None:
    described = msgspec.json.decode((data_folder / "api-conformance" / "openai" / "openapi.json").read_bytes())
    registry = Registry().with_resource("urn:openai", Resource(described, DRAFT202012))
    checker = Draft202012Validator({"$ref": "urn:openai#/components/schemas/Response"}, registry=registry)
    client, seen = make(url, house.secret), []
    with httpx.Client(base_url=f"{url}/v1", headers={"authorization": f"Bearer {house.secret}"}) as http:
        for more in ({"max_output_tokens": 8}, {"tools": [{"type": "function", "name": "f"}]}):
            seen.append(http.post("/responses", json={**LONG, "background": True, **more}).json())
            ended(client, seen[-1]["id"])
            seen.append(http.get(f"/responses/{seen[-1]['id']}").json())
        long = http.post("/responses", json={**LONG, "background": True}).json()
        seen.append(until(lambda: (now := http.get(f"/responses/{long['id']}").json())["status"] != "queued" and now))
        seen.append(http.post(f"/responses/{long['id']}/cancel").json())
    assert [one["status"] for one in seen] == ["queued", "incomplete", "queued", "failed", "in_progress", "cancelled"]
    assert not [f"{list(e.path)}: {e.message[:300]}" for one in seen for e in checker.iter_errors(one)]
