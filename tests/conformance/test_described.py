"""What the server says of itself holds: every route, every field, every status, on a real process.

FUZZ=full for the long form: fifty times as many requests, with a new seed each time.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from schemathesis import GenerationMode

from conformance.described import Described
from tokenworks.gateway.openapi.document import DESCRIBED, describe
from tokenworks.gateway.openapi.operation import HEALTH, NAMED

FULL = os.environ.get("FUZZ") == "full"
EXAMPLES = 100 if FULL else 2  # of each kind to each operation
SEED = random.SystemRandom().randrange(2**32) if FULL else 1
pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(7200 if FULL else 300)]


@pytest.fixture(scope="module")
def described(served) -> Iterator[Described]:
    yield Described(served)
    calm = 0
    while calm < 5:  # responses in the background, eval runs: whoever comes next counts what is under way
        calm = 0 if served.in_flight() else calm + 1
        time.sleep(0.05)


@pytest.fixture(scope="module")
def http(served):
    headers = {"authorization": f"Bearer {served.key}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
        yield client


def filled(path: str) -> str:
    return NAMED.sub("nothing", path)


def test_a_whole_server_describes_all_that_there_is(described):
    shown = {(method.upper(), path) for path, those in described.document["paths"].items() for method in those}
    assert shown == {(one.method, one.path) for one in DESCRIBED.values()}
    assert described.document == msgspec.json.decode(msgspec.json.encode(describe(DESCRIBED)))


@pytest.mark.parametrize("one", DESCRIBED.values(), ids=lambda one: one.id)
def test_what_is_described_is_served_and_wants_a_key_where_it_says_so(served, one):
    answer = httpx.request(one.method, served.url + filled(one.path))
    assert answer.status_code == (200 if one.refusals is HEALTH else 401)
    wrong = httpx.put(served.url + filled(one.path))
    there = {other.method for other in DESCRIBED.values() if filled(other.path) == filled(one.path)}
    assert (wrong.status_code, set(wrong.headers["allow"].split(", "))) == (405, there)


def test_what_is_served_is_described(http):
    """A path that does not exist is answered with those that do."""
    told = http.get("/nothing").json()["error"]["message"].partition("there are: ")[2].split(", ")
    assert "/v1/chat/completions" in told
    assert set(told) <= {one.path for one in DESCRIBED.values()}


@pytest.mark.parametrize("one", [one for one in DESCRIBED.values() if one.method == "GET"], ids=lambda one: one.id)
def test_the_parameters_of_a_query_are_those_that_are_read(http, one):
    """Who reads a query names what it may hold when it is asked for something else."""
    answer = http.get(filled(one.path), params={"nonsense": "1"})
    found = re.search(r"unknown parameter 'nonsense'; there are: (.*)", answer.text.replace('"', "\n"))
    told = set(found[1].split(", ")) - {"none"} if found else set()
    assert told == {f"{query.name}[...]" if query.family else query.name for query in one.query}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_whatever_is_sent_what_comes_back_is_as_described_and_on_the_ledger_once(served, described, mode):
    for operation in described.takes(mode):
        described.fuzz(operation, mode, EXAMPLES, SEED)
    print(f"{described.asked} requests, seed {SEED}")
    assert len(described.recorded) >= EXAMPLES
    found: dict[str, list[int]] = {}
    for entry in served.requests():
        found.setdefault(entry.request_id, []).append(entry.status)
    assert [one for one in described.recorded if found.get(one[0]) != [one[1]]] == []


USER = [{"role": "user", "content": "a card was lost"}]
STREAMS = {
    "/v1/chat/completions": {"messages": USER, "max_tokens": 4, "stream_options": {"include_usage": True}},
    "/v1/completions": {"prompt": "a card", "max_tokens": 4, "logprobs": 0},
    "/v1/messages": {"messages": USER, "max_tokens": 4},
    "/v1/responses": {"input": "a card", "max_output_tokens": 4},
}


@pytest.mark.parametrize("path", STREAMS)
def test_every_event_of_a_stream_is_as_described(http, served, described, path):
    answer = http.post(path, json={"model": served.writer, "stream": True, **STREAMS[path]})
    shown = described.document["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    data = shown["properties"]["data"]
    done = "anyOf" in data
    checker = described.checker((data["anyOf"][1] if done else data)["contentSchema"])
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert (events[-1] == "[DONE]") == done
    events = events[:-1] if done else events
    assert len(events) > 1
    assert [error.message for event in events for error in checker.iter_errors(msgspec.json.decode(event))] == []


@pytest.mark.parametrize(
    "asked",
    [
        {"params": {"limit": "9" * 5000}},
        {"params": {"limit": "\N{ARABIC-INDIC DIGIT THREE}"}},
        {"params": {"after": "\0"}},
    ],
    ids=["a limit beyond all measure", "a limit in other digits", "a name with a zero byte"],
)
def test_a_list_asked_for_wrongly_is_refused(http, asked):
    assert http.get("/v1/files", **asked).status_code == 400


def test_a_family_of_parameters_that_is_not_closed_is_unknown(http):
    answer = http.get("/v1/fine_tuning/jobs", params={"metadata[team": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")


@pytest.mark.parametrize("source", [{"type": {}}, {"type": "jsonl", "source": {"type": []}}])
def test_a_kind_of_source_that_is_no_name_is_refused(http, source):
    check = {"type": "string_check", "name": "same", "input": "{{item.a}}", "reference": "b", "operation": "eq"}
    config = {"type": "custom", "item_schema": {"type": "object"}}
    made = http.post("/v1/evals", json={"data_source_config": config, "testing_criteria": [check]}).json()
    answer = http.post(f"/v1/evals/{made['id']}/runs", json={"data_source": source})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_feedback_under_a_key_that_is_too_long_is_refused(http):
    """Cut short, it could be that of other feedback."""
    answer = http.post("/v1/feedback", json={"request_id": "x", "rating": 1}, headers={"idempotency-key": "a" * 256})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "idempotency-key")


@pytest.mark.parametrize("version", ["9" * 23, "9" * 200, "\0", "-1"])
def test_a_version_that_cannot_be_does_not_exist(http, served, version):
    asked = {"model": f"{served.writer}@{version}", "prompt": "a", "max_tokens": 1}
    assert http.post("/v1/completions", json=asked).json()["error"]["code"] == "model_not_found"


def test_a_deadline_beyond_all_measure_is_refused(http, served):
    asked = {"model": served.writer, "prompt": "a", "max_tokens": 1}
    answer = http.post("/v1/completions", json=asked, headers={"x-tokenworks-deadline-ms": "0" * 11 + "1" * 5000})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-tokenworks-deadline-ms")
