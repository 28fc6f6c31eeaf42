"""Request bodies as the OpenAI API documents them. Unknown fields are an error that names the nearest known one."""

from __future__ import annotations

import difflib
import json
import math
from typing import Any, TypeVar

import msgspec

from tokenworks.serving.engine import Text
from tokenworks.serving.wire.problem import Problem, invalid


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream carries besides text."""

    include_usage: bool = False
    continuous_usage_stats: bool = False  # as vLLM: the figures so far with every piece
    include_obfuscation: bool | None = None


class Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an answer can be finished by another engine. Said by the gateway, never by callers."""

    seed: int | None = None  # where the caller gave none
    seen: tuple[tuple[int, ...], ...] = ()  # its tokens so far, in the groups in which they were told


class GenerationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What chat and plain completions share."""

    model: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    ignore_eos: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, float] | None = None
    adapter: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    store: bool | None = None
    resume: Resume | None = None
    cache_salt: str | None = None  # vLLM's name. Said by the gateway, never by callers


class ChatBody(GenerationBody, frozen=True, kw_only=True):
    """The body of /v1/chat/completions."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: str | None = None
    web_search_options: Any = None
    verbosity: str | None = None
    prompt_cache_key: str | None = None


class CompletionBody(GenerationBody, frozen=True, kw_only=True):
    """The body of /v1/completions."""

    prompt: str | list[Any]
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of /v1/embeddings."""

    input: str | list[Any]
    model: str = ""
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None


class ClassifyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of /classify, the shape of vLLM."""

    input: str | list[Any]
    model: str = ""
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of /tokenize, the part of vLLM's shape that counts what a chat comes to."""

    messages: list[dict[str, Any]]
    model: str = ""


Body = TypeVar("Body", ChatBody, CompletionBody, EmbeddingBody, ClassifyBody, TokenizeBody)


def parse(data: bytes, kind: type[Body]) -> Body:
    """Return the body typed; raise `Problem` naming the field, and the nearest known one where it is unknown."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), kind) from None
    except RecursionError:
        raise invalid("the body is nested too deeply; send a plain request object", code="invalid_json") from None
    except msgspec.DecodeError as error:
        raise _explain_syntax(data, str(error)) from None


def texts(body: ClassifyBody) -> list[str]:
    """Return the input as a list of texts; raise `Problem` where it is empty or not text."""
    items = [body.input] if isinstance(body.input, str) else body.input
    if not items:
        raise invalid("input is empty; give a text or a list of texts", "input")
    for place, item in enumerate(items):
        if not isinstance(item, str):
            raise invalid(f"input[{place}] is not a text; token ids are not accepted, send the text itself", "input")
    return items


def embeddable(body: EmbeddingBody) -> list[Text]:
    """Return the input as a list of texts or of token arrays; raise `Problem` where it is neither.

    OpenAI's four forms: a text, texts, the tokens of one text, the tokens of each of several.
    """
    if isinstance(body.input, list) and body.input and all(_is_token(item) for item in body.input):
        return [body.input]
    items: list[Text] = []
    for place, item in enumerate([body.input] if isinstance(body.input, str) else body.input):
        if not isinstance(item, str) and not (isinstance(item, list) and item and all(map(_is_token, item))):
            raise invalid(f"input[{place}] is neither a text nor a list of token ids; send one of them", "input")
        items.append(item)
    if not items:
        raise invalid("input is empty; give a text or a list of texts", "input")
    return items


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _explain(message: str, kind: type[Any]) -> Problem:
    if "unknown field" in message:
        name = message.split("`")[1]
        known = list(kind.__struct_fields__)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(sorted(known))}"
        return invalid(f"unknown parameter {name!r}; {hint}", name, "unknown_parameter")
    if "missing required field" in message:
        name = message.split("`")[1]
        return invalid(f"the request lacks {name!r}; add it", name, "missing_required_parameter")
    field = message.rsplit("`$.", 1)[-1].rstrip("`") if "`$." in message else None
    return invalid(f"{field or 'the body'}: {message}", field, "invalid_type")


def _explain_syntax(data: bytes, message: str) -> Problem:
    """Name the field where Python writers put NaN or Infinity, which JSON does not have."""
    try:
        loose = json.loads(data)
    except (ValueError, RecursionError):
        return invalid(f"the body is not valid JSON ({message}); send one JSON object", code="invalid_json")
    for name, value in loose.items() if isinstance(loose, dict) else ():
        if isinstance(value, float) and not math.isfinite(value):
            return invalid(f"{name} is {value}; give a finite number", name, "invalid_value")
    return invalid(f"the body is not valid JSON ({message}); send one JSON object", code="invalid_json")
