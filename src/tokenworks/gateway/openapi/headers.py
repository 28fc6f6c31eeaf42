"""Headers that the gateway reads and writes, as parameters and headers of the description."""

from __future__ import annotations

from typing import Any

from tokenworks.core.label import Label
from tokenworks.core.priority import NAMES
from tokenworks.gateway.admission.deadline import LONGEST_MS
from tokenworks.gateway.layers.once import LONGEST

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "string", "pattern": "^[0-9]+$"}
LABELS = [str(label) for label in Label]
ASKED: dict[str, tuple[Schema, str]] = {
    "x-request-id": (
        _TEXT,
        "Your own id of the request: 8 to 64 letters, digits and `._:-`; what is something else is replaced.",
    ),
    "x-tokenworks-label": ({"enum": LABELS}, "The data class of what is sent."),
    "x-tokenworks-conversation": (_TEXT, "What belongs together; the ledger has a pseudonym of it."),
    "x-tokenworks-learn": (_TEXT, "`no`: nothing may be learned from the answer."),
    "x-tokenworks-receipt": (_TEXT, "`yes`: a signed promise of the ledger entry comes with the answer."),
    "x-tokenworks-priority": ({"enum": list(NAMES)}, "How urgent it is; only ever less than is usual for the key."),
    "x-tokenworks-deadline-ms": (
        {"type": "integer", "minimum": 1, "maximum": LONGEST_MS},
        "How long the whole answer may take.",
    ),
    "idempotency-key": (
        {"type": "string", "maxLength": LONGEST},
        "The same key with the same content is answered once.",
    ),
}
ANSWERED: dict[str, tuple[Schema, str]] = {
    "x-request-id": (_TEXT, "The id under which the ledger has the request."),
    "request-id": (_TEXT, "The same, where Anthropic's clients look for it."),
    "retry-after": (_COUNT, "Seconds after which asking again is worthwhile."),
    "www-authenticate": (_TEXT, "How to say who asks."),
    "x-tokenworks-version": (_TEXT, "NAME@VERSION of the model that answered."),
    "x-tokenworks-label": ({"enum": LABELS}, "The data class of the answer."),
    "x-tokenworks-destination": (_TEXT, "Who answered, where text went to more than this site's one engine."),
    "x-tokenworks-receipt": (_TEXT, "The signed promise of the ledger entry, where one was asked for."),
    "idempotency-replayed": ({"enum": ["true"]}, "The answer was given before under the same idempotency key."),
    "link": (_TEXT, "Where feedback on the answer goes."),
    "x-ratelimit-limit-requests": (_COUNT, "Requests per minute, where they are limited."),
    "x-ratelimit-remaining-requests": (_COUNT, "Requests that are left."),
    "x-ratelimit-limit-tokens": (_COUNT, "Tokens per minute, where they are limited."),
    "x-ratelimit-remaining-tokens": (_COUNT, "Tokens that are left."),
}
OF_TOKENS = (
    "x-tokenworks-version",
    "x-tokenworks-label",
    "x-tokenworks-destination",
    "x-tokenworks-receipt",
    "idempotency-replayed",
    "link",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
)
OF_REFUSALS = {401: ("www-authenticate",), 429: ("retry-after",), 503: ("retry-after",), 502: ("retry-after",)}


def parameters() -> dict[str, Schema]:
    """Return the component of each header that is read."""
    return {
        name: {"name": name, "in": "header", "required": False, "description": words, "schema": schema}
        for name, (schema, words) in ASKED.items()
    }


def headers() -> dict[str, Schema]:
    """Return the component of each header that is written."""
    return {name: {"description": words, "schema": schema} for name, (schema, words) in ANSWERED.items()}


def told(*names: str) -> Schema:
    """Return the headers of an answer, `x-request-id` among them."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("x-request-id", *names)}
