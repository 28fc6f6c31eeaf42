"""Answers against the official clients' own types, strictly: the clients themselves take whatever comes."""

from __future__ import annotations

import time

import anthropic.types
import httpx
import msgspec
import openai.types
import pytest
from openai.pagination import SyncCursorPage
from openai.types import chat, evals, responses, shared
from openai.types.evals.runs import OutputItemListResponse
from pydantic import TypeAdapter

pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(120)]
USER = [{"role": "user", "content": "a card was lost"}]
CHAT = {"messages": USER, "max_tokens": 4}
TEXT = {"prompt": "a card", "max_tokens": 4}
REPLY = {"input": "a card", "max_output_tokens": 4}
NO_ERROR = {"code": "", "message": ""}  # the type requires one, and OpenAI's own examples have null
GOES_ON = '"finish_reason":null'
STREAMED = {"stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def http(served):
    headers = {"authorization": f"Bearer {served.key}"}
    with httpx.Client(base_url=f"{served.url}/v1", headers=headers, timeout=60) as client:
        yield client


def strictly(type, text: str | bytes):
    return TypeAdapter(type).validate_json(text, strict=True)


@pytest.mark.parametrize(
    ("path", "asked", "type"),
    [
        ("chat/completions", CHAT, chat.ChatCompletion),
        ("chat/completions", {**CHAT, "n": 2, "logprobs": True}, chat.ChatCompletion),
        ("completions", TEXT, openai.types.Completion),
        ("completions", {**TEXT, "logprobs": 0}, openai.types.Completion),
        ("responses", REPLY, responses.Response),
        ("messages", CHAT, anthropic.types.Message),
        ("messages/count_tokens", {"messages": USER}, anthropic.types.MessageTokensCount),
    ],
)
def test_an_answer_is_of_the_official_type(served, http, path, asked, type):
    strictly(type, http.post(path, json={"model": served.writer, **asked}).raise_for_status().content)


def test_vectors_are_of_the_official_type(served, http):
    asked = {"model": served.embedder, "input": ["a card", "a fee"], "encoding_format": "float"}
    strictly(openai.types.CreateEmbeddingResponse, http.post("embeddings", json=asked).content)


@pytest.mark.parametrize(
    ("path", "asked", "type"),
    [
        ("chat/completions", {**CHAT, **STREAMED}, chat.ChatCompletionChunk),
        ("completions", {**TEXT, **STREAMED}, openai.types.Completion),
        ("responses", REPLY, responses.ResponseStreamEvent),
        ("messages", CHAT, anthropic.types.RawMessageStreamEvent),
    ],
)
def test_every_event_is_of_the_official_type(served, http, path, asked, type):
    answer = http.post(path, json={"model": served.writer, "stream": True, **asked}).raise_for_status()
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    events = events[:-1] if events[-1] == "[DONE]" else events
    assert len(events) > 1
    for event in events[:-1]:  # the type has no word for an answer that goes on, and OpenAI sends null
        strictly(type, event.replace(GOES_ON, '"finish_reason":"stop"') if path == "completions" else event)
    strictly(type, events[-1])


def test_models_and_passages_are_of_the_official_types(served, http):
    strictly(openai.types.Model, http.get(f"models/{served.writer}").content)
    found = http.post("vector_stores/documents/search", json={"query": "a lost card"}).json()
    for passage in found["data"]:
        strictly(openai.types.VectorStoreSearchResponse, msgspec.json.encode(passage))
    assert found["data"]


def test_files_and_batches_are_of_the_official_types(http):
    sent = http.post("files", files={"file": ("rows.jsonl", b"{}\n")}, data={"purpose": "batch"})
    file = strictly(openai.types.FileObject, sent.content)
    strictly(SyncCursorPage[openai.types.FileObject], http.get("files", params={"purpose": "batch"}).content)
    asked = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    made = strictly(openai.types.Batch, http.post("batches", json=asked).content)
    strictly(openai.types.Batch, http.get(f"batches/{made.id}").content)
    other = http.post("files", files={"file": ("x", b"{}")}, data={"purpose": "evals"}).json()["id"]
    strictly(openai.types.FileDeleted, http.delete(f"files/{other}").content)


def test_evals_are_of_the_official_types(http):
    check = {"type": "string_check", "name": "same", "input": "{{item.a}}", "reference": "b", "operation": "eq"}
    config = {"type": "custom", "item_schema": {"type": "object"}}
    wanted = {"data_source_config": config, "testing_criteria": [check]}
    made = strictly(openai.types.EvalCreateResponse, http.post("evals", json=wanted).content)
    strictly(SyncCursorPage[openai.types.EvalListResponse], http.get("evals").content)
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {"a": "b"}}]}}
    run = http.post(f"evals/{made.id}/runs", json={"data_source": source}).json()
    for _ in range(200):
        if run["status"] == "completed":
            break
        time.sleep(0.1)
        run = http.get(f"evals/{made.id}/runs/{run['id']}").json()
    strictly(evals.RunRetrieveResponse, msgspec.json.encode({**run, "error": NO_ERROR}))
    [item] = http.get(f"evals/{made.id}/runs/{run['id']}/output_items").json()["data"]
    item["sample"]["error"] = NO_ERROR
    strictly(OutputItemListResponse, msgspec.json.encode(item))
    strictly(openai.types.EvalDeleteResponse, http.delete(f"evals/{made.id}").content)


def test_refusals_are_of_the_official_types(http):
    refused = http.post("chat/completions", json={"model": "nothing", "messages": USER}).json()
    strictly(shared.ErrorObject, msgspec.json.encode(refused["error"]))
    for path in ("messages", "messages/count_tokens"):
        strictly(anthropic.types.ErrorResponse, http.post(path, json={"model": "nothing", "messages": USER}).content)
