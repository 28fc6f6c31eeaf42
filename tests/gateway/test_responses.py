"""/v1/responses by the official client: kept, continued, streamed and forgotten; as OpenAI describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

from tokenworks.core.label import Label
from tokenworks.gateway.app import build
from tokenworks.gateway.openai.spoken import Made, Used
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.responses.shown import usage
from tokenworks.ledger.bodies import named
from tokenworks.store.artifacts import open_artifacts

if TYPE_CHECKING:
    from .conftest import House

ASKED: dict[str, Any] = {"model": "complete", "max_output_tokens": 8, "temperature": 0.0}


def face(house: House, *, keep_bodies: bool) -> str:
    """Begin another face of the same house, with what keeps responses; return its address."""
    objects, artifacts = house.catalog.objects, open_artifacts(str(house.home / "a"), cache=house.home / "c")

    async def begin() -> str:
        records, platform = house.records(keep_bodies=keep_bodies), Parts(objects, artifacts, house.home / "uploads")
        return await house.face(build(replace(house.parts(), records=records, platform=platform)))

    return house.run(begin())


@pytest.fixture(scope="module")
def url(house: House) -> str:
    return face(house, keep_bodies=True)


@pytest.fixture(scope="module")
def client(house: House, url: str) -> Iterator[openai.OpenAI]:
    with make(url, house.secret) as made:
        yield made


def make(url: str, secret: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)


@pytest.fixture(scope="module")
def conforms(data_folder: Path) -> Callable[[str, Any], None]:
    described = msgspec.json.decode((data_folder / "api-conformance" / "openai" / "openapi.json").read_bytes())
    registry = Registry().with_resource("urn:openai", Resource(described, DRAFT202012))

    def check(name: str, answer: Any) -> None:
        checker = Draft202012Validator({"$ref": f"urn:openai#/components/schemas/{name}"}, registry=registry)
        assert not [f"{list(error.path)}: {error.message[:300]}" for error in checker.iter_errors(answer)]

    return check


def test_a_response_is_the_chat_that_it_stands_for(house: House, client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(input="how do I", instructions="be brief", **ASKED)
    said = raw.parse()
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how do I"}]
    same = client.chat.completions.create(model="complete", messages=messages, max_tokens=8, temperature=0.0)
    assert said.output_text == same.choices[0].message.content
    assert (said.status, said.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    entry = house.entry(raw.headers["x-request-id"])
    assert (entry.endpoint, entry.face, entry.outcome, entry.stored) == ("chat.completions", "responses", "ok", True)
    assert said.usage.output_tokens == entry.completion_tokens == 8
    assert said.usage.input_tokens == entry.prompt_tokens == same.usage.prompt_tokens
    assert raw.headers["x-tokenworks-label"] == entry.label == "internal"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_kept_response_comes_back_as_it_was_and_can_be_forgotten(client: openai.OpenAI, streamed: bool) -> None:
    asked: dict[str, Any] = {"input": "a card", "instructions": "x", "metadata": {"team": "a"}, **ASKED}
    if streamed:
        said = list(client.responses.create(stream=True, **asked))[-1].response
    else:
        said = client.responses.create(**asked)
    assert client.responses.retrieve(said.id).model_dump() == said.model_dump()
    [item] = client.responses.input_items.list(said.id).data
    assert (item.role, item.content[0].text) == ("user", "a card")
    client.responses.delete(said.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(said.id)


def test_a_conversation_goes_on_from_the_last_response(house: House, client: openai.OpenAI) -> None:
    first = client.responses.create(input="a card was lost", instructions="only now", **ASKED)
    second = client.responses.with_raw_response.create(input="and then?", previous_response_id=first.id, **ASKED)
    messages = [
        {"role": "user", "content": "a card was lost"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "and then?"},
    ]
    same = client.chat.completions.create(model="complete", messages=messages, max_tokens=8, temperature=0.0)
    assert second.parse().output_text == same.choices[0].message.content
    prompt, _ = house.bodies.get(named("default", second.headers["x-request-id"]))
    assert msgspec.json.decode(prompt)["messages"] == messages  # the old instructions are not carried on
    listed = client.responses.input_items.list(second.parse().id, order="asc").data
    assert [item.role for item in listed] == ["user", "assistant", "user"]


def test_items_may_be_sent_instead_of_text(client: openai.OpenAI) -> None:
    items: Any = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "how do I"}]},
    ]
    said = client.responses.create(input=items, **ASKED)
    assert said.output_text == client.responses.create(input="how do I", instructions="be brief", **ASKED).output_text


def test_a_stream_says_what_the_whole_response_says(client: openai.OpenAI) -> None:
    whole = client.responses.create(input="the quick brown", **ASKED)
    with client.responses.stream(input="the quick brown", **ASKED) as stream:
        events = list(stream)
    final = events[-1].response
    assert final.output_text == whole.output_text
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    assert final.usage == whole.usage


def test_answers_and_events_are_as_published(house: House, url: str, conforms: Any) -> None:
    headers = {"authorization": f"Bearer {house.secret}"}
    with httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=60) as http:
        body = {"input": "how do I", "instructions": "x", "user": "u", **ASKED}
        made = http.post("/responses", json=body)
        conforms("Response", made.json())
        conforms("Response", http.get(f"/responses/{made.json()['id']}").json())
        conforms("ResponseItemList", http.get(f"/responses/{made.json()['id']}/input_items").json())
        streamed = http.post("/responses", json={**body, "stream": True}).text
    events = [msgspec.json.decode(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    assert len(events) > 6
    for event in events:
        conforms("ResponseStreamEvent", event)


def test_nothing_is_kept_where_nothing_is_to_be(house: House, client: openai.OpenAI) -> None:
    said = client.responses.with_raw_response.create(input="how", store=False, **ASKED)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(said.parse().id)
    assert house.bodies.get(named("default", said.headers["x-request-id"])) is None
    with make(face(house, keep_bodies=False), house.secret) as keeping_none:
        assert keeping_none.responses.create(input="how", **ASKED).store is False
        with pytest.raises(openai.BadRequestError, match="keeps no texts"):
            keeping_none.responses.create(input="how", store=True, **ASKED)


def test_another_tenant_or_a_lower_clearance_sees_nothing(house: House, url: str) -> None:
    cleared = make(url, house.keys.create("default", clearance=Label.RESTRICTED)[0])
    label = {"x-tokenworks-label": "confidential"}
    said = cleared.responses.create(input="how", extra_headers=label, **ASKED)
    for secret in (house.secret, house.keys.create("rival", clearance=Label.RESTRICTED)[0]):
        other = make(url, secret)
        for ask in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                ask(said.id)
        with pytest.raises(openai.NotFoundError):
            other.responses.create(input="and?", previous_response_id=said.id, **ASKED)
    raw = cleared.responses.with_raw_response.create(input="and?", previous_response_id=said.id, **ASKED)
    assert raw.headers["x-tokenworks-label"] == "confidential"  # what it goes on from counts as well


def test_a_request_id_used_twice_shows_nobody_the_others_texts(house: House, url: str, client: openai.OpenAI) -> None:
    chosen = {"x-request-id": "chosen-by-the-caller-1"}
    mine = client.responses.create(input="mine", extra_headers=chosen, **ASKED)
    other = make(url, house.keys.create("rival")[0])
    theirs = other.responses.create(input="theirs", extra_headers=chosen, **ASKED)
    for asking, said in ((client, mine), (other, theirs)):
        try:
            assert asking.responses.retrieve(said.id).output_text == said.output_text
        except openai.NotFoundError:
            continue


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"conversation": "conv_1"}, "unknown field 'conversation'"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools is not supported here"),
        ({"truncation": "auto"}, "truncation"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        ({"input": []}, "input"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(client: openai.OpenAI, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.post("/responses", body={"input": "x", **ASKED, **wrong}, cast_to=object)
    assert words in refusal.value.message


def test_the_effort_of_a_response_is_thought_about_within_its_tokens(client: openai.OpenAI) -> None:
    said = client.responses.create(model="complete", input="x", max_output_tokens=60, reasoning={"effort": "low"})
    assert said.usage is not None
    assert said.usage.output_tokens <= 60


def test_tokens_that_were_only_thought_are_told_as_responses_tell_them() -> None:
    used = Used(prompt_tokens=3, completion_tokens=9, completion_tokens_details=Made(reasoning_tokens=5))
    assert usage(used)["output_tokens_details"] == {"reasoning_tokens": 5}
