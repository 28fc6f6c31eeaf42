"""Lists in pages, as OpenAI's cursors have them: `after` an id, `limit` so many, in an `order`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.platform.call import Call
from tokenworks.store.nouns import Object


def page(
    call: Call,
    found: Sequence[Object],
    shown: Callable[[Object], dict[str, Any]],
    *,
    limit: int = 20,
    most: int = 100,
    order: str = "desc",
) -> dict[str, Any]:
    """Return OpenAI's list object with the part of `found`, oldest first, that `call` asks for, each as it is shown."""
    order = call.query.get("order", order)
    if order not in ("asc", "desc"):
        raise bad_request(f"order is {order!r}; it must be asc or desc", param="order")
    ordered = list(found) if order == "asc" else list(reversed(found))
    limit = _number(call.query.get("limit", str(limit)), most)
    if after := call.query.get("after"):
        ids = [one.id for one in ordered]
        if after not in ids:
            raise bad_request(f"after is {after!r}, which is not in this list; send the last id you got", param="after")
        ordered = ordered[ids.index(after) + 1 :]
    data = [shown(one) for one in ordered[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else "",
        "last_id": data[-1]["id"] if data else "",
        "has_more": len(ordered) > limit,
    }


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 9) or not 1 <= int(text) <= most:
        raise bad_request(f"limit is {text[:40]!r}; it must be a number from 1 to {most}", param="limit")
    return int(text)
