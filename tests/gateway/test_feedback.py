"""Feedback: on one's own requests, written once, with the text beside the log."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tokenworks.core.ids import pseudonym
from tokenworks.gateway.feedback import Feedback
from tokenworks.gateway.notes import Notes
from tokenworks.ledger.bodies import named
from tokenworks.ledger.lookup import Lookup

if TYPE_CHECKING:
    import httpx

    from .conftest import House


@pytest.fixture
def request_id(house: House) -> str:
    answer = house.http().post("/classify", json={"model": "route", "input": "lost card"})
    return str(answer.headers["x-request-id"])


def send(house: House, body: dict[str, Any], secret: str | None = None, once: str = "") -> httpx.Response:
    headers = {"idempotency-key": once} if once else {}
    return house.http(secret).post("/v1/feedback", json=body, headers=headers)


def test_a_correction_is_on_the_ledger_and_its_text_beside_it(house: House, request_id: str) -> None:
    answer = send(house, {"request_id": request_id, "rating": -1, "correction": "card"})
    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["object"], shown["request_id"], shown["has_correction"]) == ("feedback", request_id, True)
    entry = next(entry for entry in house.feedback() if entry.feedback_id == shown["id"])
    assert (entry.request_id, entry.rating, entry.tenant) == (request_id, -1, "default")
    assert entry.correction_digest == hashlib.sha256(bytes.fromhex(entry.salt) + b"card").hexdigest()
    assert house.bodies.get_correction(shown["id"]) == "card"


def test_the_same_feedback_twice_is_one_entry(house: House, request_id: str) -> None:
    body = {"request_id": request_id, "correction": "money"}
    first, second = send(house, body), send(house, body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert [entry.request_id for entry in house.feedback()].count(request_id) == 1


def test_other_words_on_the_same_request_are_other_feedback(house: House, request_id: str) -> None:
    send(house, {"request_id": request_id, "rating": 1})
    send(house, {"request_id": request_id, "rating": 0})
    assert [entry.request_id for entry in house.feedback()].count(request_id) == 2


def test_an_idempotency_key_decides_what_is_the_same(house: House, request_id: str) -> None:
    body = {"request_id": request_id, "rating": 1}
    assert send(house, body, once="a").status_code == 201
    assert send(house, body, once="a").status_code == 200
    assert send(house, body, once="b").status_code == 201
    contradiction = send(house, {**body, "rating": -1}, once="a")
    assert (contradiction.status_code, contradiction.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_feedback_sent_again_after_a_restart_is_still_one_entry(house: House, request_id: str) -> None:
    body = {"request_id": request_id, "rating": 1, "comment": "good"}
    send(house, body)
    lookup = Lookup(house.home / "ledger", house.home / "again.db")
    notes = Notes(house.ledger, bodies=None, find=lookup.request)
    feedback = Feedback(notes, house.ledger, house.bodies, lookup)
    route = house.gateway.app._exact["POST", "/v1/feedback"]  # type: ignore[attr-defined]
    house.gateway.app._exact["POST", "/v1/feedback"] = (route[0], _through(route[1], feedback))  # type: ignore[attr-defined]
    try:
        assert send(house, body).status_code == 200
    finally:
        house.gateway.app._exact["POST", "/v1/feedback"] = route  # type: ignore[attr-defined]
    assert [entry.request_id for entry in house.feedback()].count(request_id) == 1


def _through(handle: Any, innermost: Any) -> Any:
    """The same layers around another innermost handle."""
    layers = []
    while hasattr(handle, "args"):
        layers.append(handle.args[0])
        handle = handle.args[1]
    from tokenworks.gateway.fold import fold

    return fold(layers, innermost)


def test_feedback_on_the_request_of_another_tenant_is_unknown(house: House, request_id: str) -> None:
    other, _ = house.keys.create("other", scopes={"feedback"})
    answer = send(house, {"request_id": request_id, "rating": 1}, other)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_not_found")


def test_a_colleague_of_the_same_tenant_may_correct(house: House, request_id: str) -> None:
    colleague, kept = house.keys.create("default", scopes={"feedback"})
    assert send(house, {"request_id": request_id, "correction": "other"}, colleague).status_code == 201
    assert house.feedback()[-1].key_id == kept.prefix


def test_feedback_on_nothing_known_says_where_ids_come_from(house: House) -> None:
    answer = send(house, {"request_id": "req-does-not-exist", "rating": 1})
    assert answer.status_code == 404
    assert "x-request-id" in answer.json()["error"]["message"]


def test_feedback_needs_its_scope(house: House, request_id: str) -> None:
    secret, _ = house.keys.create("default", scopes={"infer"})
    assert send(house, {"request_id": request_id, "rating": 1}, secret).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"rating": 1},
        {"request_id": ""},
        {"rating": 2},
        {"rating": "good"},
        {"correction": ""},
        {"correction": 7},
        {"stars": 5},
        {"outcome": 1.5},
        {"signal": "shrugged"},
        {},
    ],
)
def test_feedback_that_cannot_be_meant_is_a_400(house: House, request_id: str, body: dict[str, Any]) -> None:
    if "rating" not in body or body["rating"] != 1:
        body = {"request_id": request_id, **body}
    answer = send(house, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def ask(house: House, model: str = "route", **body: Any) -> str:
    answer = house.http().post("/classify", json={"model": model, "input": "lost card", **body})
    return str(answer.headers["x-request-id"])


def test_every_answer_links_to_where_feedback_on_it_is_shown(house: House) -> None:
    answer = house.http().post("/classify", json={"model": "route", "input": "lost card"})
    asked = answer.headers["x-request-id"]
    assert answer.headers["link"] == f'</v1/feedback/{asked}>; rel="feedback"'
    send(house, {"request_id": asked, "rating": 1})
    found = house.http().get(f"/v1/feedback/{asked}").json()
    assert [(one["request_id"], one["rating"]) for one in found["data"]] == [(asked, 1)]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"outcome": True}, {"outcome": 1.0}),
        ({"outcome": 0.25}, {"outcome": 0.25}),
        ({"signal": "accepted"}, {"signal": "accepted"}),
        ({"signal": "edited", "correction": "money"}, {"signal": "edited", "has_correction": True}),
    ],
)
def test_outcomes_and_signals_are_on_the_ledger(
    house: House, request_id: str, said: dict[str, Any], kept: dict[str, Any]
) -> None:
    shown = send(house, {"request_id": request_id, "user": "kim", **said}).json()
    entry = next(one for one in house.feedback() if one.feedback_id == shown["id"])
    assert {name: getattr(entry, name) for name in kept} == kept
    assert entry.user == pseudonym("default", "kim")


def test_one_answer_can_be_preferred_over_another_of_the_same_model(house: House, request_id: str) -> None:
    worse = ask(house)
    shown = send(house, {"request_id": request_id, "preferred_over": worse}).json()
    assert shown["preferred_over"] == worse
    assert send(house, {"request_id": request_id, "preferred_over": request_id}).status_code == 400
    assert send(house, {"request_id": request_id, "preferred_over": "req-nobody-knows"}).status_code == 404
    other = house.http().post("/v1/completions", json={"model": "complete", "prompt": "the", "max_tokens": 1})
    mixed = send(house, {"request_id": request_id, "preferred_over": other.headers["x-request-id"]})
    assert (mixed.status_code, mixed.json()["error"]["param"]) == (400, "preferred_over")


def test_a_list_is_taken_one_by_one_and_what_cannot_be_taken_is_named(house: House, request_id: str) -> None:
    body = [{"request_id": request_id, "outcome": 1}, {"request_id": "req-nobody-knows", "outcome": 0}, {"rating": 7}]
    answer = house.http().post("/v1/feedback", json=body)
    found = answer.json()
    assert (answer.status_code, found["taken"], found["failed"]) == (200, 1, 2)
    assert [one["status"] for one in found["data"]] == [201, 404, 400]
    assert house.http().post("/v1/feedback", json=body).json()["data"][0]["status"] == 200
    assert house.http().post("/v1/feedback", json=[{}] * 1001).status_code == 400


def test_nobody_floods_a_request(house: House, request_id: str) -> None:
    statuses = [send(house, {"request_id": request_id, "comment": f"no {n}"}).status_code for n in range(21)]
    assert (set(statuses[:20]), statuses[20]) == ({201}, 429)


def test_nothing_can_be_said_of_what_was_erased(house: House, request_id: str) -> None:
    house.bodies.erase_requests([named("default", request_id)])
    answer = send(house, {"request_id": request_id, "rating": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "request_erased")
