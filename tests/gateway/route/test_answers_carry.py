"""What a model said is told to other models too, by judges and by samples that go on: its label goes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Rogue, Routed

ROUTED, ROGUE = Callable[..., Routed], Callable[..., Rogue]
SAID = [{"role": "user", "content": "how do I reset my password"}]
PUBLIC = {"x-tokenworks-label": "public"}


def remote(server: Rogue, label: str) -> dict[str, Any]:
    return {"name": "far", "url": server.url, "label": label, "region": "eu"}


def think(gate: Routed, reasoning: dict[str, Any]) -> Any:
    body = {"model": "complete", "messages": SAID, "max_tokens": 4, "reasoning": reasoning}
    return gate.http.post("/v1/chat/completions", json=body, headers=PUBLIC)


@pytest.mark.parametrize(("label", "told"), [("public", 0), ("internal", 2)])
def test_a_judge_elsewhere_is_told_no_answer_above_its_label(
    routed: ROUTED, rogue: ROGUE, label: str, told: int
) -> None:
    """The prompt is public, the model that answers it is internal."""
    judge = rogue("ok")
    gate = routed(remotes=[remote(judge, label)], routes={"judge": {"order": ["far"]}})
    reasoning = {"strategy": "best-of-n", "budget": {"samples": 2}, "verifier": {"type": "judge", "model": "judge"}}
    answer = think(gate, reasoning)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tokenworks-label"] == "internal"
    assert len(judge.requests) == told


@pytest.mark.parametrize(("label", "told"), [("public", 1), ("internal", 2)])
def test_a_sample_that_goes_on_from_another_carries_its_label(
    routed: ROUTED, rogue: ROGUE, label: str, told: int
) -> None:
    """The first is answered here since the server elsewhere fails; the second would be asked there again."""
    server = rogue("broken", "bad_request")
    gate = routed(remotes=[remote(server, label)], routes={"complete": {"order": ["far", "here"]}})
    think(gate, {"strategy": "budget-forcing", "rounds": 1, "budget": {"samples": 2}})
    assert len(server.requests) == told
    assert ("assistant" in str([body for _, _, body in server.requests])) is (told == 2)


def test_the_answer_to_a_search_has_the_label_of_the_query_that_it_repeats(house: Any) -> None:
    where, asked = "/v1/vector_stores/docs/search", {"query": "the"}
    said = {
        label: house.http().post(where, json=asked, headers={"x-tokenworks-label": label}).headers["x-tokenworks-label"]
        for label in ("public", "restricted")
    }
    assert said == {"public": "public", "restricted": "restricted"}
    assert house.http().post(where, json=asked, headers={"x-tokenworks-label": "none"}).status_code == 400
