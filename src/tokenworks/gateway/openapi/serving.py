"""GET /openapi.json: the description of what this process serves, made once, when it is first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from tokenworks.gateway.exchange import Exchange, Handle, Reply, Routes
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.border import border

JSON = (("content-type", "application/json"),)


def openapi_face(served: Callable[[], Iterable[tuple[str, str]]]) -> Routes:
    """Return the route; `served` names every method and path, with a `*` for each name."""
    return {("GET", "/openapi.json"): ("openapi", fold([border], _describing(served)))}


def _describing(served: Callable[[], Iterable[tuple[str, str]]]) -> Handle:
    made: list[bytes] = []

    async def handle(exchange: Exchange) -> Reply:
        if not made:
            made.append(await asyncio.to_thread(_described, served()))
        return Reply(status=200, body=made[0], headers=JSON)

    return handle


def _described(served: Iterable[tuple[str, str]]) -> bytes:
    from tokenworks.gateway.openapi.document import describe  # a server that nobody asks for it does without

    return msgspec.json.encode(describe(served))
