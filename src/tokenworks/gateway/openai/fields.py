"""The fields of each endpoint with their types and bounds: those that OpenAI publishes, and those of local engines.

Field names that no struct here has are refused: a typing mistake must not silently change an answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Fraction = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Stop = str | Annotated[list[str], Meta(max_length=16)] | None
Anything = Any  # passed on; the engine says whether it can do it


class Spend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be spent on one answer. That the amounts can be meant is checked where they are used."""

    samples: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    joules: float | None = None
    money: float | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What judges samples."""

    type: Literal["regex", "json_schema", "judge"]
    pattern: str = ""
    schema: dict[str, Any] | None = None  # by default that of response_format
    model: str = ""
    question: str = ""


class Reasoning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer is thought about: our extension of chats and completions."""

    effort: str | None = None
    strategy: str = "auto"
    budget: Spend = Spend()
    answer: str = ""  # a regular expression for what is voted on
    verifier: Verification | None = None
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    rounds: Annotated[int, Meta(ge=1, le=16)] = 2
    cue: Annotated[str, Meta(min_length=1, max_length=200)] = "Wait"


class StreamOptions(msgspec.Struct, frozen=True):
    """How a stream is reported. Further options are the engine's business."""

    include_usage: bool | None = None


class ModelBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every endpoint has."""

    model: Name
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class SamplingBody(ModelBody, kw_only=True, forbid_unknown_fields=True):
    """What both kinds of generation have. Bounds are those of the OpenAI API, wider where local engines differ."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_tokens: Count | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    seed: int | None = None
    stop: Stop = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Fraction | None = None
    min_tokens: Count | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    ignore_eos: bool | None = None
    adapter: str | None = None
    response_format: Anything = None
    reasoning: Reasoning | None = None
    reasoning_effort: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation. Content parts and tool calls are the engine's business."""

    role: Annotated[str, Meta(min_length=1)]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None


class ChatBody(SamplingBody, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    audio: Anything = None
    chat_template_kwargs: Anything = None
    function_call: Anything = None
    functions: Anything = None
    modalities: Anything = None
    moderation: Anything = None
    parallel_tool_calls: bool | None = None
    prediction: Anything = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Anything = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    tool_choice: Anything = None
    tools: Anything = None
    verbosity: str | None = None
    web_search_options: Anything = None


class CompletionBody(SamplingBody, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str | int | list[int]], Meta(min_length=1)]
    best_of: Positive | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    suffix: str | None = None


class EmbeddingBody(ModelBody, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/embeddings."""

    input: str | Annotated[list[str | int | list[int]], Meta(min_length=1)]
    dimensions: Positive | None = None
    encoding_format: str | None = None


class TokenizeBody(ModelBody, kw_only=True, forbid_unknown_fields=True):
    """What counts the tokens of a chat, in vLLM's shape; asked by other faces."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    tools: Anything = None


class ClassifyBody(ModelBody, kw_only=True, forbid_unknown_fields=True):
    """POST /classify, in vLLM's shape."""

    input: str | Annotated[list[str], Meta(min_length=1)]
    priority: int | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1)] | None = None
