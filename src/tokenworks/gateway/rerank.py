"""/v1/rerank in the shape of Jina, Cohere and vLLM: documents by how near a query they are embedded."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokenworks.gateway.exchange import Exchange, Handle, Routes
from tokenworks.gateway.openai.bodies import decode, refuse_duplicates
from tokenworks.gateway.openai.fields import Name, Positive
from tokenworks.gateway.translate import translated

MOST = 10_000  # documents; a search hands over tens, seldom hundreds


class Text(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document as an object."""

    text: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/rerank."""

    model: Name
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | Text], Meta(min_length=1, max_length=MOST)]
    top_n: Positive | None = None
    return_documents: bool | None = None
    user: str | None = None


class _Row(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Used(msgspec.Struct):
    total_tokens: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Row]
    model: str = ""
    usage: _Used = msgspec.field(default_factory=_Used)


def rerank_face(tokens: Handle) -> Routes:
    """Return the routes, in front of `tokens`."""
    ranked = translated(tokens, Rerank)
    return {("POST", "/v1/rerank"): ("embeddings", ranked), ("POST", "/rerank"): ("embeddings", ranked)}


class Rerank:
    """One request for a ranking: query and documents are embedded at once, the score is the cosine of both."""

    face = "rerank"
    endpoint = "embeddings"

    def __init__(self, exchange: Exchange) -> None:
        self._request_id = exchange.request_id
        self._documents: list[str] = []
        self._top_n = 0
        self._shows = True

    async def ask(self, body: bytes) -> bytes:
        """Return the request for the embeddings."""
        wanted = decode(Wanted, body)
        refuse_duplicates(body)
        self._documents = [one if isinstance(one, str) else one.text for one in wanted.documents]
        self._top_n = min(wanted.top_n or len(self._documents), len(self._documents))
        self._shows = wanted.return_documents is not False
        asked: dict[str, Any] = {"model": wanted.model, "input": [wanted.query, *self._documents]}
        user = {"user": wanted.user} if wanted.user else {}
        return msgspec.json.encode({**asked, **user, "encoding_format": "base64"})

    async def answer(self, body: bytes) -> bytes:
        """Return the ranking, the nearest first; equals stay in their order."""
        vectors = msgspec.json.decode(body, type=_Vectors)
        ranked = _ranked([row.embedding for row in sorted(vectors.data, key=lambda row: row.index)])
        results = [self._result(place, score) for place, score in ranked[: self._top_n]]
        used = {"prompt_tokens": vectors.usage.total_tokens, "total_tokens": vectors.usage.total_tokens}
        return msgspec.json.encode(
            {"id": f"rerank-{self._request_id}", "model": vectors.model, "usage": used, "results": results}
        )

    async def event(self, event: bytes) -> bytes:
        """Return nothing: there is no stream."""
        return b""

    def refusal(self, status: int, body: bytes) -> bytes:
        """Return the error as it is."""
        return body

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return none."""
        return ()

    def _result(self, place: int, score: float) -> dict[str, Any]:
        document = {"document": {"text": self._documents[place]}} if self._shows else {}
        return {"index": place, **document, "relevance_score": score}


def _ranked(embeddings: list[str | list[float]]) -> list[tuple[int, float]]:
    """Return place and cosine of each embedding after the first, which is the query's; the nearest come first."""
    import numpy as np  # a gateway that nobody asks for a ranking does without

    rows = np.array([_numbers(one) for one in embeddings], np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    scores = rows[1:] @ rows[0]
    return [(int(place), float(scores[place])) for place in np.argsort(-scores, kind="stable")]


def _numbers(embedding: str | list[float]) -> Sequence[float]:
    """Return a vector in either encoding: not every server elsewhere knows base64."""
    if isinstance(embedding, list):
        return embedding
    data = base64.b64decode(embedding)
    return struct.unpack(f"<{len(data) // 4}f", data)
