"""GET /v1/models: what is released, as far as the caller may use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tokenworks.gateway.errors import not_found
from tokenworks.gateway.exchange import Exchange, Handle, Layer, Reply, Routes
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.authorise import may_see
from tokenworks.gateway.releases import Releases, Served


def models_face(releases: Releases, around: Sequence[Layer]) -> Routes:
    """Return the routes of both forms: the list, and one model by its name."""
    listed = fold(around, _listing(releases))
    return {("GET", "/v1/models"): ("models", listed), ("GET", "/v1/models/*"): ("models", listed)}


def _listing(releases: Releases) -> Handle:

    async def handle(exchange: Exchange) -> Reply:
        usable = {a: s for a, s in (await releases.all()).items() if may_see(exchange.who, s)}
        if not exchange.target:
            models = [_model(alias, usable[alias]) for alias in sorted(usable)]
            return Reply(status=200, body=msgspec.json.encode({"object": "list", "data": models}))
        if exchange.target not in usable:
            message = (
                f"model {exchange.target!r} does not exist or you may not use it; GET /v1/models lists those you may"
            )
            raise not_found(message, code="model_not_found", param="model")
        return Reply(status=200, body=msgspec.json.encode(_model(exchange.target, usable[exchange.target])))

    return handle


def _model(alias: str, served: Served) -> dict[str, Any]:
    """Return OpenAI's model object; the fields after `owned_by` are ours."""
    return {
        "id": alias,
        "object": "model",
        "created": int(served.created_at),
        "owned_by": served.owner or "tokenworks",
        "version": served.ref,
        "kind": served.kind,
        "label": served.label,
    }
