"""Search of the documents in the shape of OpenAI's vector stores; who searches and how is passed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokenworks.core.errors import ConfigError, NotFoundError
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import bad_request, not_found
from tokenworks.gateway.exchange import Exchange, Handle, Layer, Reply, Routes
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.openai.bodies import decode


class SearchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/vector_stores/{id}/search."""

    query: Annotated[str, Meta(min_length=1)] | Annotated[list[str], Meta(min_length=1, max_length=16)]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    filters: dict[str, Any] | None = None
    ranking_options: dict[str, Any] | None = None
    rewrite_query: bool | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that answers a query."""

    file_id: str
    filename: str
    text: str
    score: float
    label: str = "public"
    attributes: dict[str, str | float | bool] = {}


class SearchCall(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, and up to which label it may be shown."""

    store: str
    query: str
    k: int
    clearance: Label


Search = Callable[[SearchCall], Awaitable[list[Found]]]


def search_face(search: Search | None, around: Sequence[Layer]) -> Routes:
    """Return the route; without `search` there is nothing to search."""
    return {("POST", "/v1/vector_stores/*/search"): ("search", fold(around, _searching(search)))}


def _searching(search: Search | None) -> Handle:

    async def handle(exchange: Exchange) -> Reply:
        require_scope(exchange.who, "search")
        exchange.body = await exchange.read()
        body = decode(SearchBody, exchange.body)
        declared = _declared(exchange)
        if body.filters:
            raise bad_request("filters are not supported here; leave them out", param="filters")
        queries = [body.query] if isinstance(body.query, str) else body.query
        found = await _search(search, exchange, queries, body.max_num_results)
        exchange.label = highest([declared, *(Label.parse(hit.label) for hit in found)])
        return Reply(status=200, body=_page(queries, found))

    return handle


def _declared(exchange: Exchange) -> Label:
    """Return the label that the caller says the queries have, which stand in the answer too."""
    try:
        return Label.parse(exchange.declared) if exchange.declared else Label.PUBLIC
    except ConfigError as error:
        raise bad_request(f"header x-tokenworks-label: {error}", param="x-tokenworks-label") from None


async def _search(search: Search | None, exchange: Exchange, queries: list[str], k: int) -> list[Found]:
    """Return the best of all queries; a passage that several find counts with its best score."""
    store, clearance = exchange.target, exchange.who.clearance
    best: dict[tuple[str, str], Found] = {}
    try:
        if search is None:
            raise NotFoundError(f"vector store {store!r} does not exist: nothing has been ingested yet")
        for query in queries:
            for hit in await search(SearchCall(store=store, query=query, k=k, clearance=clearance)):
                place = (hit.file_id, hit.text)
                if place not in best or best[place].score < hit.score:
                    best[place] = hit
    except NotFoundError as error:
        raise not_found(str(error), code="vector_store_not_found") from None
    return sorted(best.values(), key=lambda hit: -hit.score)[:k]


def _page(queries: list[str], found: list[Found]) -> bytes:
    data = [
        {
            "file_id": hit.file_id,
            "filename": hit.filename,
            "score": hit.score,
            "attributes": hit.attributes,
            "content": [{"type": "text", "text": hit.text}],
        }
        for hit in found
    ]
    page = {"object": "vector_store.search_results.page", "search_query": queries, "data": data}
    return msgspec.json.encode({**page, "has_more": False, "next_page": None})
