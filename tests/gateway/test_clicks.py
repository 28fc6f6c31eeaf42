"""A search and what was clicked in it: everything that a training pair needs is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenworks.flywheel.select.texts import said
from tokenworks.ledger.bodies import named

if TYPE_CHECKING:
    from .conftest import House


def test_a_search_can_be_clicked_on_and_query_results_and_click_are_kept(house: House) -> None:
    answer = house.http().post("/v1/vector_stores/docs/search", json={"query": "the", "max_num_results": 5})
    request_id, results = answer.headers["x-request-id"], answer.json()["data"]
    clicked = results[-1]["file_id"]
    sent = {"request_id": request_id, "correction": clicked, "signal": "accepted"}
    taken = house.http().post("/v1/feedback", json=sent)
    assert taken.status_code == 201
    kept = house.bodies.get(named("default", request_id))
    assert kept is not None
    learned = said("search", *kept)
    assert learned is not None
    assert (learned.text, learned.answer) == ("the", results[0]["file_id"])
    assert house.bodies.get_correction(taken.json()["id"]) == clicked


def test_feedback_on_an_erased_search_is_gone(house: House) -> None:
    answer = house.http().post("/v1/vector_stores/docs/search", json={"query": "the"})
    request_id = answer.headers["x-request-id"]
    house.bodies.erase_requests([named("default", request_id)])
    late = house.http().post("/v1/feedback", json={"request_id": request_id, "correction": "docs/a.md"})
    assert late.status_code == 410
