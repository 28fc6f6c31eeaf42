"""Lists in pages, and what is asked of them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from tokenworks.gateway.openapi.operation import Query, Shown


class Page(Shown, frozen=True, kw_only=True):
    """A part of a list."""

    object: Literal["list"]
    first_id: str
    last_id: str
    has_more: bool


AFTER = Query(name="after", type=str, summary="The last id that you got")
LIMIT = Query(name="limit", type=Annotated[int, Meta(ge=1, le=100)], summary="So many at most")
ORDER = Query(name="order", type=Literal["asc", "desc"], summary="By time: ascending or descending")
TURNED = (AFTER, LIMIT)
PAGED = (*TURNED, ORDER)
