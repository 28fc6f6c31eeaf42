"""Request bodies: what the gateway must know of them, and refusing what cannot be meant before an engine sees it.

The bytes themselves travel on unchanged.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import Any, TypeVar

import msgspec

from tokenworks.gateway.errors import ApiError, bad_request
from tokenworks.gateway.openai.asked import Asked
from tokenworks.gateway.openai.fields import (
    ChatBody,
    ClassifyBody,
    CompletionBody,
    EmbeddingBody,
    ModelBody,
    Reasoning,
    SamplingBody,
    TokenizeBody,
)
from tokenworks.gateway.openai.sizes import size_of

T = TypeVar("T", bound=msgspec.Struct)
PATHS = {
    "chat.completions": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "classify": "/classify",
    "tokenize": "/tokenize",
}
BODIES: dict[str, type[ModelBody]] = {
    "chat.completions": ChatBody,
    "completions": CompletionBody,
    "embeddings": EmbeddingBody,
    "classify": ClassifyBody,
    "tokenize": TokenizeBody,
}
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BOUNDS = ("max_tokens", "max_completion_tokens", "best_of")
_GOVERNING = ("model", "stream", "stream_options", "messages", "prompt", "input", "n", *_BOUNDS)
_NAMED = re.compile(rf'"({"|".join(_GOVERNING)})"\s*:'.encode())
_WHERE = re.compile(r" - at `\$\.?([^`]*)`")
_UNKNOWN = re.compile(r"contains unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")


def parse(endpoint: str, body: bytes) -> Asked:
    """Return what is asked; raise a 400 that names the field, what is wrong with it and what would be right."""
    parsed = decode(BODIES[endpoint], body)
    refuse_duplicates(body)
    options = parsed.stream_options
    if options is not None and not parsed.stream:
        raise bad_request("stream_options is only allowed together with stream: true", param="stream_options")
    return Asked(
        model=parsed.model,
        stream=bool(parsed.stream),
        include_usage=bool(options and options.include_usage),
        user=parsed.safety_identifier or parsed.user or "",
        conversation=str((parsed.metadata or {}).get("conversation", "")),
        store=parsed.store is not False,
        size=size_of(parsed, body),
        tier=(parsed.service_tier or "") if isinstance(parsed, ChatBody) else "",
        reasoning=_reasoning(parsed) if isinstance(parsed, SamplingBody) else None,
    )


def _reasoning(parsed: SamplingBody) -> Reasoning | None:
    asked, effort = parsed.reasoning, parsed.reasoning_effort
    if asked is None:
        return None if effort is None or effort == "none" else Reasoning(effort=effort)
    if effort is not None and asked.effort not in (None, effort):
        message = f"reasoning_effort is {effort!r} and reasoning.effort is {asked.effort!r}; send one of them"
        raise bad_request(message, param="reasoning.effort")
    effort = asked.effort or effort
    return None if effort == "none" else msgspec.structs.replace(asked, effort=effort)


def decode(into: type[T], body: bytes) -> T:
    """Return `body` as an `into`; raise the 400 that explains why it is none."""
    check_text(body)
    try:
        return msgspec.json.decode(body, type=into)
    except msgspec.ValidationError as error:
        raise explain(error, into) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise malformed(error, body) from None


def with_usage(body: bytes) -> bytes:
    """Return the request with usage asked for throughout the stream; every other field keeps its bytes.

    Engines that know `continuous_usage_stats` (vLLM's name) then say with each piece how many tokens there were, so
    that an answer broken off is still counted right.
    """
    fields: dict[str, Any] = _RAW.decode(body)
    options = msgspec.json.decode(fields["stream_options"]) if "stream_options" in fields else None
    wanted = {"include_usage": True, "continuous_usage_stats": True}
    return msgspec.json.encode({**fields, "stream_options": {**(options or {}), **wanted}})


def with_bound(body: bytes, max_tokens: int) -> bytes:
    """Return the request with a bound on each answer; every other field keeps its bytes."""
    return msgspec.json.encode({**_RAW.decode(body), "max_tokens": max_tokens})


def check_text(body: bytes) -> None:
    """Raise 400 unless `body` is UTF-8 text."""
    if not body.strip():
        raise bad_request("the body is empty; send a JSON object", code="empty_body")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise bad_request(
            f"the body is not UTF-8 at byte {error.start}; send JSON encoded as UTF-8", code="invalid_utf8"
        ) from None


def malformed(error: Exception, body: bytes) -> ApiError:
    """Return the 400 for what is not JSON; NaN and Infinity get their own words."""
    hint = "send one JSON object, check quotes, commas and escapes"
    if re.search(rb":\s*-?(NaN|Infinity)", body[:1_000_000]):
        hint = "NaN and Infinity are not JSON; leave the field out to get its default"
    return bad_request(f"the body is not valid JSON: {error}; {hint}", code="invalid_json")


def explain(error: msgspec.ValidationError, body: type[msgspec.Struct]) -> ApiError:
    """Return the 400 for valid JSON of the wrong shape."""
    text = str(error)
    where = _WHERE.search(text)
    place = where[1] if where else ""
    reason = _WHERE.sub("", text)
    if unknown := _UNKNOWN.search(text):
        name = f"{place}.{unknown[1]}" if place else unknown[1]
        near = difflib.get_close_matches(unknown[1], body.__struct_encode_fields__, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near and not place else "leave it out"
        return bad_request(f"unknown field {name!r}; {hint}", param=name, code="unknown_parameter")
    if missing := _MISSING.search(text):
        name = f"{place}.{missing[1]}" if place else missing[1]
        return bad_request(f"the field {name!r} is missing; add it", param=name, code="missing_required_parameter")
    if not place:
        return bad_request(f"the body must be a JSON object: {reason}", code="invalid_type")
    return bad_request(f"field {place!r}: {reason[:1].lower()}{reason[1:]}", param=place, code="invalid_value")


def refuse_duplicates(body: bytes) -> None:
    """Raise 400 when a field stands twice: two readers of such a body need not agree on what it says.

    The quick look finds the fields that decide something; only where one occurs twice is the body read again. A name
    written with escapes slips by, but is read alike here and in our engines: the last of two counts.
    """
    named = _NAMED.findall(body)
    if len(set(named)) < len(named):
        _refuse_twice(body)


def _refuse_twice(body: bytes) -> None:
    try:
        depth_one = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise malformed(error, body) from None
    names = [name for name, _ in depth_one.pairs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        name = sorted(twice)[0]
        raise bad_request(
            f"the field {name!r} stands twice in the body; send it once", param=name, code="duplicate_field"
        )


class _Pairs:
    """A JSON object with its fields as they stood."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs
