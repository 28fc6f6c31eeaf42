"""From a request body to `Sampling`: every value checked, every parameter the engine lacks refused by name."""

from __future__ import annotations

import math
from typing import Any

from tokenworks.serving.engine import Sampling
from tokenworks.serving.wire.bodies import ChatBody, CompletionBody, GenerationBody, Resume
from tokenworks.serving.wire.problem import Problem, invalid

MOST_CHOICES = 128
MOST_STOPS = 16
MOST_ALTERNATIVES = 20
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.01, 10.0),
}
NEVER = (
    "tools", "tool_choice", "functions", "function_call", "audio", "prediction", "reasoning_effort",
    "web_search_options", "logit_bias", "echo", "suffix", "verbosity",
)  # fmt: skip


def chat_sampling(body: ChatBody, supports: frozenset[str], room: int) -> Sampling:
    """Return how to answer a chat; `room` is how many tokens the context has left after the prompt."""
    _refuse_unsupported(body)
    if body.modalities not in (None, ["text"]):
        raise _unsupported("modalities", "this model answers in text")
    if body.top_logprobs and not body.logprobs:
        raise invalid("top_logprobs needs logprobs=true", "top_logprobs")
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    field, asked = ("max_completion_tokens", body.max_completion_tokens)
    if asked is None:
        field, asked = "max_tokens", body.max_tokens
    return _sampling(body, supports, _length(field, asked, room, room), logprobs, "top_logprobs")


def completion_sampling(body: CompletionBody, supports: frozenset[str], room: int) -> Sampling:
    """Return how to complete a prompt; `room` is how many tokens the context has left after it."""
    _refuse_unsupported(body)
    if body.best_of not in (None, 1, body.n):
        raise _unsupported("best_of", "ask for n choices and choose")
    return _sampling(
        body, supports, _length("max_tokens", body.max_tokens, room, min(16, room)), body.logprobs, "logprobs"
    )


def _sampling(
    body: GenerationBody, supports: frozenset[str], max_tokens: int, logprobs: int | None, field: str
) -> Sampling:
    resume, resumes = body.resume or Resume(), body.resume is not None and "resume" in supports
    if resume.seen and not (resumes and body.n in (None, 1)):
        raise _unsupported("resume", "this engine does not finish what another one began")
    given = body.seed if body.seed is not None or not resumes else resume.seed
    values = {name: _number(body, name) for name in RANGES if getattr(body, name) is not None}
    sampling = Sampling(
        max_tokens=max_tokens,
        unwatched=not body.stream,
        top_k=_whole("top_k", body.top_k, 0, 1 << 31, 0),
        seed=None if given is None else _whole("seed", given, -(1 << 63), 1 << 63, 0),
        told=resumes and body.n in (None, 1),
        seen=resume.seen,
        n=_whole("n", body.n, 1, MOST_CHOICES, 1),
        stop=_stops(body.stop),
        logprobs=None if logprobs is None else _whole(field, logprobs, 0, MOST_ALTERNATIVES, 0),
        json_schema=_schema(body.response_format),
        ignore_eos=bool(body.ignore_eos),
        adapter=body.adapter or "",
        cache_salt=body.cache_salt or "",
        work=None,
        **values,
    )
    _check_support(sampling, supports, field)
    return sampling


def _check_support(sampling: Sampling, supports: frozenset[str], field: str) -> None:
    wanted = {
        "logprobs": sampling.logprobs is not None,
        "seed": sampling.seed is not None,
        "response_format": sampling.json_schema is not None,
        "ignore_eos": sampling.ignore_eos,
        "adapter": bool(sampling.adapter),
        "n": sampling.n > 1,
        "top_k": sampling.top_k > 0,
        "stop": bool(sampling.stop),
        "presence_penalty": bool(sampling.presence_penalty),
        "frequency_penalty": bool(sampling.frequency_penalty),
        "repetition_penalty": sampling.repetition_penalty != 1.0,
    }
    features = {"response_format": "json_schema", "adapter": "adapters"}
    for name, used in wanted.items():
        feature = "penalties" if name.endswith("_penalty") else features.get(name, name)
        if used and feature not in supports:
            raise _unsupported(name, "the engine that serves this model cannot do it")
    if sampling.logprobs and "top_logprobs" not in supports:
        raise _unsupported(
            field, "this engine reports the chosen token's logprob but no alternatives; ask for 0 of them, "
            "or serve the model with the engine 'transformers'"
        )  # fmt: skip


def _refuse_unsupported(body: GenerationBody) -> None:
    for name in NEVER:
        if getattr(body, name, None) not in (None, False, [], {}, "", "none"):
            raise _unsupported(name, "leave it out")


def _unsupported(name: str, way_out: str) -> Problem:
    return invalid(f"{name} is not supported here: {way_out}", name, "unsupported_parameter")


def _number(body: GenerationBody, name: str) -> float:
    value, (low, high) = float(getattr(body, name)), RANGES[name]
    if not math.isfinite(value) or not low <= value <= high:
        raise invalid(f"{name} is {value}; give a number from {low:g} to {high:g}", name, "invalid_value")
    if name == "top_p" and value == 0:
        raise invalid("top_p is 0; give a number above 0 and up to 1, or temperature=0 for the likeliest token", name)
    return value


def _whole(name: str, value: int | None, low: int, high: int, default: int) -> int:
    if value is None:
        return default
    if not low <= value <= high:
        raise invalid(f"{name} is {value}; give a whole number from {low} to {high}", name, "invalid_value")
    return value


def _length(field: str, asked: int | None, room: int, default: int) -> int:
    if asked is None:
        return default
    if asked < 1:
        raise invalid(f"{field} is {asked}; give at least 1", field, "invalid_value")
    if asked > room:
        raise invalid(
            f"{field} is {asked}, but the prompt leaves {room} tokens of the context; ask for at most {room}, "
            "or shorten the prompt", field, "context_length_exceeded",
        )  # fmt: skip
    return asked


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > MOST_STOPS:
        raise invalid(f"stop has {len(stops)} strings; give at most {MOST_STOPS}", "stop", "invalid_value")
    if any(not text for text in stops):
        raise invalid("stop holds an empty string; leave it out", "stop", "invalid_value")
    return stops


def _schema(form: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON schema that the answer must follow; `json_object` means any object."""
    kind = (form or {}).get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    schema = ((form or {}).get("json_schema") or {}).get("schema") if kind == "json_schema" else None
    if not isinstance(schema, dict):
        form_wanted = '{"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}'
        raise invalid(
            f"response_format {kind!r} is not understood; give {form_wanted}", "response_format", "invalid_value"
        )
    return schema
