"""/v1/moderations: does a text hold personal data or secrets, and which label should it carry? Passed in is who knows.

The shape is OpenAI's; the categories are the detectors', which say what they look for. Nothing is said of what no
detector judges, such as violence: false would be a claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import bad_request, not_found, unavailable
from tokenworks.gateway.exchange import Exchange, Handle, Layer, Reply, Routes
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.openai.bodies import decode, refuse_duplicates

MODEL = "detectors"
MOST_CHARACTERS = 1_000_000  # at once: about a second of one core


class TextPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some text as an object."""

    type: Literal["text"]
    text: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/moderations."""

    input: str | Annotated[list[str | TextPart], Meta(min_length=1, max_length=2048)]
    model: str | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at `start` to `end` of a text, in characters. The value itself is not repeated."""

    kind: str
    start: int
    end: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a text, and the least label that it should carry."""

    places: tuple[Place, ...]
    label: Label


class Detectors(msgspec.Struct, frozen=True, kw_only=True):
    """What looks at texts, and the kinds of things that it looks for."""

    check: Callable[[str], Checked]
    kinds: tuple[str, ...]


def moderations_face(detectors: Detectors | None, around: Sequence[Layer]) -> Routes:
    """Return the route; without `detectors` it says so."""
    return {("POST", "/v1/moderations"): ("moderations", fold(around, _moderating(detectors)))}


def _moderating(detectors: Detectors | None) -> Handle:

    async def handle(exchange: Exchange) -> Reply:
        require_scope(exchange.who, "infer")
        exchange.may_learn = False  # what is looked at for personal data is not kept
        exchange.body = await exchange.read()
        wanted = decode(Wanted, exchange.body)
        refuse_duplicates(exchange.body)
        if detectors is None:
            raise unavailable("this gateway was built without detectors", code="no_detectors", retry_after_s=30)
        if wanted.model not in (None, MODEL):
            raise not_found(
                f"model {wanted.model!r} does not check texts here; there is: {MODEL}, or leave it out",
                code="model_not_found",
                param="model",
            )
        texts = _texts(wanted)
        checked = await asyncio.to_thread(lambda: [detectors.check(text) for text in texts])
        exchange.label = highest([_declared(exchange), *(one.label for one in checked)])
        results = [_result(one, detectors.kinds) for one in checked]
        answer = {"id": f"modr-{exchange.request_id}", "model": MODEL, "results": results}
        return Reply(status=200, body=msgspec.json.encode(answer))

    return handle


def _texts(wanted: Wanted) -> list[str]:
    given = [wanted.input] if isinstance(wanted.input, str) else wanted.input
    texts = [one if isinstance(one, str) else one.text for one in given]
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise bad_request(f"the input has more than {MOST_CHARACTERS} characters; send it in parts", param="input")
    return texts


def _declared(exchange: Exchange) -> Label:
    try:
        return Label.parse(exchange.declared) if exchange.declared else Label.PUBLIC
    except ConfigError as error:
        raise bad_request(f"header x-tokenworks-label: {error}", param="x-tokenworks-label") from None


def _result(checked: Checked, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Return OpenAI's result; `findings` and `label` are ours. A detector is sure or silent: scores are 1 or 0."""
    found = {place.kind for place in checked.places}
    return {
        "flagged": bool(found),
        "categories": {kind: kind in found for kind in kinds},
        "category_scores": {kind: float(kind in found) for kind in kinds},
        "category_applied_input_types": {kind: ["text"] for kind in kinds},
        "findings": [msgspec.to_builtins(place) for place in checked.places],
        "label": str(checked.label),
    }
