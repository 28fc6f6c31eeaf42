"""/v1/rerank against the whole gateway: the order is that of the embeddings, and there is one entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from .conftest import House

QUERY = "lost card"
DOCUMENTS = ["money sent to the bank", "a card is lost", "password help please", "lost card"]


def ask(house: House, **more: Any) -> Any:
    body = {"model": "route", "query": QUERY, "documents": DOCUMENTS, **more}
    return house.http().post("/v1/rerank", json=body)


def test_documents_come_by_the_cosine_of_their_embeddings(house: House) -> None:
    answer = ask(house)
    vectors = house.openai().embeddings.create(model="route", input=[QUERY, *DOCUMENTS])
    rows = np.array([row.embedding for row in vectors.data])
    scores = rows[1:] @ rows[0]
    results = answer.json()["results"]
    assert [one["index"] for one in results] == np.argsort(-scores, kind="stable").tolist()
    assert np.allclose([one["relevance_score"] for one in results], np.sort(scores)[::-1], atol=1e-5)
    assert results[0]["document"] == {"text": "lost card"}  # the same words are nearest
    assert answer.json()["usage"]["total_tokens"] == vectors.usage.total_tokens
    entry = house.entry(answer.headers["x-request-id"])
    assert (entry.endpoint, entry.face, entry.outcome, entry.label) == ("embeddings", "rerank", "ok", "public")
    assert entry.prompt_tokens == vectors.usage.prompt_tokens
    assert answer.headers["x-tokenworks-label"] == "public"


def test_the_best_few_may_come_without_their_text(house: House) -> None:
    documents = [{"text": text} for text in DOCUMENTS]
    results = ask(house, documents=documents, top_n=2, return_documents=False).json()["results"]
    assert [one["index"] for one in results] == [one["index"] for one in ask(house).json()["results"][:2]]
    assert all(set(one) == {"index", "relevance_score"} for one in results)


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"documents": []}, 400, "documents"),
        ({"top_n": 0}, 400, "top_n"),
        ({"query": ""}, 400, "query"),
        ({"max_chunks_per_doc": 3}, 400, "unknown field 'max_chunks_per_doc'"),
        ({"documents": ["card " * 100]}, 400, "the context is 64"),
        ({"model": "complete"}, 404, "does not answer /v1/embeddings"),
        ({"model": "nothing"}, 404, "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(house: House, wrong: dict[str, Any], status: int, words: str) -> None:
    answer = ask(house, **wrong)
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True)
    assert house.entry(answer.headers["x-request-id"]).face == "rerank"
