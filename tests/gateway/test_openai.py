"""The official client against the whole gateway: real engine processes, real sockets, a real ledger."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tokenworks.core.label import Label
from tokenworks.ledger.bodies import named

if TYPE_CHECKING:
    from .conftest import House

LONG: dict[str, Any] = {"max_tokens": 1500, "temperature": 0.0, "extra_body": {"ignore_eos": True}}
SHORT: dict[str, Any] = {"max_tokens": 6, "temperature": 0.0, "extra_body": {"ignore_eos": True}}


def test_models_are_listed_as_far_as_the_key_reaches(house: House) -> None:
    models = {model.id: model for model in house.openai().models.list()}
    assert set(models) == {"complete", "route", "broken"}
    assert models["complete"].owned_by == "mailto:a@example.org"
    assert models["complete"].version == "complete@1"
    assert house.openai().models.retrieve("route").kind == "classify"
    with pytest.raises(openai.NotFoundError):
        house.openai().models.retrieve("secret")


def test_a_completion_comes_with_usage_and_one_entry(house: House) -> None:
    raw = house.openai().completions.with_raw_response.create(model="complete", prompt="how do I", **SHORT)
    answer = raw.parse()
    entry = house.entry(raw.headers["x-request-id"])
    assert answer.usage.completion_tokens == entry.completion_tokens == 6
    assert answer.usage.prompt_tokens == entry.prompt_tokens > 0
    assert (entry.outcome, entry.status, entry.endpoint) == ("ok", 200, "completions")
    assert (entry.model, entry.version, entry.engine, entry.label) == ("complete", "complete@1", "openvino", "internal")
    assert (entry.tenant, entry.key_id) == ("default", house.key.prefix)
    assert 0 < entry.ttft_s <= entry.latency_s
    assert raw.headers["x-tokenworks-label"] == "internal"
    assert raw.headers["x-tokenworks-version"] == "complete@1"


def test_the_entry_proves_prompt_and_answer_without_holding_them(house: House) -> None:
    body = b'{"model":"complete","prompt":"a card was lost","max_tokens":3}'
    answer = house.http().post("/v1/completions", content=body)
    entry = house.entry(answer.headers["x-request-id"])
    salt = bytes.fromhex(entry.salt)
    assert entry.prompt_digest == hashlib.sha256(salt + body).hexdigest()
    assert entry.answer_digest == hashlib.sha256(salt + answer.content).hexdigest()
    assert house.bodies.get(named("default", entry.request_id)) == (body, answer.content)
    assert all(
        b"a card was lost" not in path.read_bytes() for path in (house.home / "ledger").rglob("*") if path.is_file()
    )


def test_chat_works_with_the_template_of_the_model(house: House) -> None:
    answer = house.openai().chat.completions.create(
        model="complete", messages=[{"role": "user", "content": "hello"}], **SHORT
    )
    assert answer.choices[0].message.role == "assistant"
    assert answer.model == "complete@1"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stream_says_what_the_whole_answer_says(house: House, wanted: bool) -> None:
    asked: dict[str, Any] = {"model": "complete", "prompt": "the quick brown", **SHORT}
    whole = house.openai().completions.create(**asked)
    options = {"stream_options": {"include_usage": True}} if wanted else {}
    raw = house.openai().completions.with_raw_response.create(stream=True, **asked, **options)
    chunks = list(raw.parse())
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].usage is not None) == wanted
    entry = house.entry(raw.headers["x-request-id"])
    assert (entry.outcome, entry.completion_tokens, entry.prompt_tokens) == ("ok", 6, whole.usage.prompt_tokens)
    assert 0 < entry.ttft_s <= entry.latency_s


def test_a_chat_stream_is_recorded_byte_by_byte(house: House) -> None:
    body = {"model": "complete", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": True}
    answer = house.http().post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content.endswith(b"data: [DONE]\n\n")
    entry = house.entry(answer.headers["x-request-id"])
    delivered = answer.content.removesuffix(b"data: [DONE]\n\n")
    assert entry.answer_digest == hashlib.sha256(bytes.fromhex(entry.salt) + delivered).hexdigest()


async def test_the_async_client_streams_too(house: House) -> None:
    async with openai.AsyncOpenAI(base_url=f"{house.server.address}/v1", api_key=house.secret) as client:
        stream = await client.completions.create(model="complete", prompt="how", stream=True, **SHORT)
        assert len([chunk async for chunk in stream]) > 0


def test_embeddings_and_classes_come_from_the_encoder(house: House) -> None:
    vectors = house.openai().embeddings.create(model="route", input=["lost card", "money"])
    assert [len(item.embedding) for item in vectors.data] == [32, 32]
    for path in ("/classify", "/v1/classify"):
        answer = house.http().post(path, json={"model": "route", "input": ["lost card", "money"]})
        assert [item["num_classes"] for item in answer.json()["data"]] == [3, 3]
        entry = house.entry(answer.headers["x-request-id"])
        assert (entry.endpoint, entry.engine, entry.label) == ("classify", "encoder", "public")
        assert entry.prompt_tokens == answer.json()["usage"]["prompt_tokens"] > 0


def test_the_clients_own_request_id_is_kept_when_it_is_sane(house: House) -> None:
    for offered, kept in [("my-request-0001", True), ("no spaces allowed", False), ("x" * 65, False), ("short", False)]:
        answer = house.http().get("/v1/models", headers={"x-request-id": offered})
        assert (answer.headers["x-request-id"] == offered) == kept
        assert re.fullmatch(r"[A-Za-z0-9._:-]{8,64}", answer.headers["x-request-id"])


def test_the_label_of_an_answer_is_the_higher_of_prompt_and_model(house: House) -> None:
    secret, _ = house.keys.create("default", clearance=Label.RESTRICTED)
    for declared, label in [("", "public"), ("public", "public"), ("confidential", "confidential")]:
        headers = {"x-tokenworks-label": declared} if declared else {}
        answer = house.http(secret).post("/classify", json={"model": "route", "input": "x"}, headers=headers)
        assert answer.headers["x-tokenworks-label"] == label
        assert house.entry(answer.headers["x-request-id"]).label == label


async def test_sixty_four_clients_at_once_leave_one_entry_each(house: House) -> None:
    headers = {"authorization": f"Bearer {house.secret}"}
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=house.server.address, headers=headers, limits=limits, timeout=60) as client:

        async def ask(number: int) -> str:
            if number % 2:
                body: dict[str, Any] = {"model": "route", "input": f"card {number}"}
                return (await client.post("/classify", json=body)).headers["x-request-id"]
            body = {"model": "complete", "prompt": f"card {number}", "max_tokens": 4, "stream": number % 4 == 0}
            return (await client.post("/v1/completions", json=body)).headers["x-request-id"]

        ids = await asyncio.gather(*(ask(number) for number in range(128)))
    assert len(set(ids)) == 128
    entries = [entry for entry in house.entries() if getattr(entry, "request_id", "") in set(ids)]
    assert sorted(entry.request_id for entry in entries) == sorted(ids)
    assert {(entry.outcome, entry.error) for entry in entries} == {("ok", "")}


def test_the_figures_are_those_of_the_ledger(house: House) -> None:
    name = 'tokenworks_requests_total{endpoint="completions",outcome="ok",status="200",version="complete@1"}'
    tokens = 'tokenworks_tokens_total{direction="completion",endpoint="completions",version="complete@1"}'

    def shown(what: str) -> float:
        lines = house.http().get("/metrics").text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(what)), 0.0)

    before, known = (shown(name), shown(tokens)), len(house.entries())  # other gateways write to this ledger too
    for _ in range(3):
        house.openai().completions.create(model="complete", prompt="how", **SHORT)
    made = [entry for entry in house.entries()[known:] if getattr(entry, "endpoint", "") == "completions"]
    assert (shown(name) - before[0], len(made)) == (3, 3)
    assert shown(tokens) - before[1] == sum(entry.completion_tokens for entry in made)
    assert shown('tokenworks_engine_up{version="complete@1"}') == 1.0


def test_health_needs_no_key_and_shows_no_content(house: House) -> None:
    assert httpx.get(f"{house.server.address}/healthz").json() == {"status": "ok"}
    ready = httpx.get(f"{house.server.address}/readyz")
    assert (ready.status_code, ready.json()["engines"]["complete@1"]["state"]) == (200, "ready")


def test_search_answers_in_the_shape_of_vector_stores(house: House) -> None:
    page = house.openai().vector_stores.search("docs", query="the", max_num_results=5)
    assert [(hit.file_id, hit.filename, hit.content[0].text[:9]) for hit in page.data] == [("f0", "0.md", "the quick")]
    with pytest.raises(openai.NotFoundError, match="there is: docs"):
        house.openai().vector_stores.search("other", query="x")


def test_search_shows_nothing_above_the_clearance_of_the_key(house: House) -> None:
    page = house.openai().vector_stores.search("docs", query=["a", "how"])
    assert [hit.file_id for hit in page.data] == ["f0", "f1"]
    newest = [entry for entry in house.entries() if getattr(entry, "endpoint", "") == "search"][-1]
    assert (newest.outcome, newest.label) == ("ok", "internal")


def test_answers_are_json_that_names_every_error_alike(house: House) -> None:
    answer = house.http().get("/v1/nothing")
    assert answer.status_code == 404
    error = json.loads(answer.content)["error"]
    assert (error["code"], error["request_id"]) == ("unknown_url", answer.headers["x-request-id"])
    assert "/v1/chat/completions" in error["message"]
    wrong = house.http().get("/v1/completions")
    assert (wrong.status_code, wrong.headers["allow"], wrong.json()["error"]["code"]) == (
        405,
        "POST",
        "method_not_allowed",
    )
