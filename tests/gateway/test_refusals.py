"""What is refused, with which words; and that every refusal is on the ledger."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tokenworks.core.label import Label

if TYPE_CHECKING:
    from .conftest import House


def refused(house: House, status: int, code: str, answer: httpx.Response) -> str:
    """Check an error answer and its entry; return the message."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    entry = house.entry(answer.headers["x-request-id"])
    assert (entry.status, entry.error) == (status, code)
    assert entry.outcome == ("refused" if status < 500 else "failed")
    return str(error["message"])


@pytest.mark.parametrize("header", ["", "Bearer tw-wrong", "Basic dXNlcjpwYXNz", "Bearer", "tw-naked"])
def test_without_a_valid_key_nobody_comes_in(house: House, header: str) -> None:
    headers = {"authorization": header} if header else {}
    answer = httpx.post(f"{house.server.address}/classify", json={"model": "route", "input": "x"}, headers=headers)
    message = refused(house, 401, "invalid_api_key", answer)
    assert "tokenworks key new" in message or "Authorization: Bearer" in message
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_official_client_sees_its_own_exceptions(house: House) -> None:
    with pytest.raises(openai.AuthenticationError):
        house.openai("tw-wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="there are: broken, complete, route"):
        house.openai().completions.create(model="nope", prompt="x")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        house.openai().completions.create(model="complete", prompt="x", temperature=-1)
    with pytest.raises(openai.PermissionDeniedError, match="trained on restricted data"):
        house.openai().completions.create(model="secret", prompt="x")


def test_a_revoked_key_stops_working_within_a_moment(house: House) -> None:
    secret, kept = house.keys.create("default")
    assert house.http(secret).get("/v1/models").status_code == 200
    house.catalog.keys.revoke(kept.hash, at=time.time())
    house.wait_until(lambda: house.http(secret).get("/v1/models").status_code == 401, 3)


def test_a_key_without_the_scope_is_told_which(house: House) -> None:
    secret, _ = house.keys.create("default", scopes={"search"})
    answer = house.http(secret).post("/classify", json={"model": "route", "input": "x"})
    assert "lacks the scope 'infer' (it has: search)" in refused(house, 403, "missing_scope", answer)
    exact, _ = house.keys.create("default", scopes={"infer"})
    answer = house.http(exact).post("/classify", json={"model": "route@1", "input": "x"})
    assert "'versions'" in refused(house, 403, "missing_scope", answer)
    assert house.http().post("/classify", json={"model": "route@1", "input": "x"}).status_code == 200


def test_a_prompt_declared_above_the_key_is_refused(house: House) -> None:
    headers = {"x-tokenworks-label": "restricted"}
    answer = house.http().post("/classify", json={"model": "route", "input": "x"}, headers=headers)
    assert "counts as restricted" in refused(house, 403, "clearance_too_low", answer)


def test_a_label_that_does_not_exist_is_refused_with_those_that_do(house: House) -> None:
    answer = house.http().post(
        "/classify", json={"model": "route", "input": "x"}, headers={"x-tokenworks-label": "top"}
    )
    assert "public < internal < confidential < restricted" in refused(house, 400, "invalid_value", answer)


def test_a_model_above_the_key_is_not_even_listed(house: House) -> None:
    cleared, _ = house.keys.create("default", clearance=Label.RESTRICTED)
    assert "secret" in [model.id for model in house.openai(cleared).models.list()]
    answer = house.http().post("/v1/completions", json={"model": "nope", "prompt": "x"})
    assert "secret" not in refused(house, 404, "model_not_found", answer)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b"{", "invalid_json"),
        (b'{"model":"route","input":"\xff"}', "invalid_utf8"),
        (b'{"model":"route","input":7}', "invalid_value"),
        (b'{"model":"route","input":"x","colour":"red"}', "unknown_parameter"),
        (b'{"model":"route","input":"x","model":"route"}', "duplicate_field"),
        (b'{"input":"x"}', "missing_required_parameter"),
    ],
)
def test_a_malformed_body_is_refused_and_recorded(house: House, body: bytes, code: str) -> None:
    refused(house, 400, code, house.http().post("/classify", content=body))


def test_a_compressed_body_is_refused(house: House) -> None:
    answer = house.http().post("/classify", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    refused(house, 415, "unsupported_encoding", answer)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_above_the_limit_is_refused_with_the_limit(house: House, chunked: bool) -> None:
    body = b'{"model":"route","input":"' + b"x" * 12_100_000 + b'"}'
    content: Any = (body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000)) if chunked else body
    answer = house.http().post("/classify", content=content)
    assert "larger than 12 MB; send less at once, or raise server.max_body_mb" in refused(
        house, 413, "body_too_large", answer
    )
    assert house.http().get("/healthz").status_code == 200


def test_a_prompt_of_ten_megabytes_gets_the_engines_own_refusal(house: House) -> None:
    body = {"model": "complete", "prompt": "word " * 2_000_000, "max_tokens": 1}
    answer = house.http().post("/v1/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert house.entry(answer.headers["x-request-id"]).outcome == "refused"


def test_a_stream_that_the_engine_refuses_is_a_plain_error(house: House) -> None:
    body = {"model": "complete", "prompt": "word " * 5000, "max_tokens": 1, "stream": True}
    answer = house.http().post("/v1/completions", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_an_endpoint_that_the_model_does_not_do_is_the_engines_404(house: House) -> None:
    answer = house.http().post("/v1/completions", json={"model": "route", "prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_capable")
    assert house.entry(answer.headers["x-request-id"]).outcome == "refused"


def test_a_released_model_that_cannot_be_opened_is_unavailable_with_the_reason(house: House) -> None:
    answer = house.http().post("/v1/completions", json={"model": "broken", "prompt": "x"})
    assert "no folder for broken@1" in refused(house, 503, "model_unavailable", answer)
    assert int(answer.headers["retry-after"]) > 0


def test_a_starting_engine_asks_to_come_back(house: House) -> None:
    house.run(house.pool.remove("route@1"))
    answer = house.http().post("/classify", json={"model": "route", "input": "x"})
    if answer.status_code != 200:  # it may start faster than a call waits
        refused(house, 503, "engine_starting", answer)
        assert answer.headers["retry-after"] == "1"
    assert house.openai(max_retries=20).embeddings.create(model="route", input="x").data


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/files", "/v1/models/a/b", "/v1/vector_stores//search", "/%00", "/" + "x" * 2000]
)
def test_unknown_paths_are_error_objects(house: House, path: str) -> None:
    answer = house.http().post(path, content=b"{}")
    assert answer.status_code == 404
    assert json.loads(answer.content)["error"]["message"]
