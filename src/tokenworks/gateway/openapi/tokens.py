"""Tokens in OpenAI's and vLLM's forms: /v1/chat/completions, /v1/completions, /v1/embeddings and /classify."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from tokenworks.gateway.openai.fields import ChatBody, ClassifyBody, CompletionBody, EmbeddingBody
from tokenworks.gateway.openapi.operation import TOKENS, Operation, Passed

HEADERS = (
    "x-tokenworks-label",
    "x-tokenworks-conversation",
    "x-tokenworks-learn",
    "x-tokenworks-receipt",
    "x-tokenworks-priority",
    "x-tokenworks-deadline-ms",
    "idempotency-key",
)


class CachedTokens(Passed, frozen=True, kw_only=True):
    """Tokens of the prompt that a cache had."""

    cached_tokens: int | None = None


class Usage(Passed, frozen=True, kw_only=True):
    """Tokens as OpenAI counts them."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | UnsetType = UNSET
    prompt_tokens_details: CachedTokens | UnsetType | None = UNSET


class AssistantMessage(Passed, frozen=True, kw_only=True):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType | None = UNSET


class ChatChoice(Passed, frozen=True, kw_only=True):
    """One answer."""

    index: int
    message: AssistantMessage
    finish_reason: str | None
    logprobs: dict[str, Any] | UnsetType | None = UNSET


class ChatCompletion(Passed, frozen=True, kw_only=True):
    """A chat that was answered. `model` is the exact version."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | UnsetType = UNSET


class ChatDelta(Passed, frozen=True, kw_only=True):
    """A piece of what the assistant says."""

    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType | None = UNSET


class ChatChunkChoice(Passed, frozen=True, kw_only=True):
    """A piece of one answer."""

    index: int
    delta: ChatDelta
    finish_reason: str | UnsetType | None = UNSET
    logprobs: dict[str, Any] | UnsetType | None = UNSET


class ChatCompletionChunk(Passed, frozen=True, kw_only=True):
    """An event of a streamed chat."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | UnsetType | None = UNSET


class CompletionChoice(Passed, frozen=True, kw_only=True):
    """One answer, or a piece of it."""

    index: int
    text: str
    finish_reason: str | None
    logprobs: dict[str, Any] | UnsetType | None = UNSET


class Completion(Passed, frozen=True, kw_only=True):
    """A text that was gone on with, or an event of it."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | UnsetType | None = UNSET


class Embedding(Passed, frozen=True, kw_only=True):
    """A vector: numbers, or their little-endian float32 in base64."""

    index: int
    object: Literal["embedding"]
    embedding: list[float] | str


class Embeddings(Passed, frozen=True, kw_only=True):
    """The vectors, in the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Class(Passed, frozen=True, kw_only=True):
    """The class of one text, with the probabilities of all."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class Classification(Passed, frozen=True, kw_only=True):
    """The classes, in the order of the input."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Class]
    usage: Usage


_asked = partial(Operation, method="POST", tag="Tokens", refusals=TOKENS, headers=HEADERS)
_classified = partial(_asked, body=ClassifyBody, answer=Classification, summary="Classify texts")
OPERATIONS = (
    _asked(
        path="/v1/chat/completions",
        id="createChatCompletion",
        summary="Answer a chat",
        body=ChatBody,
        answer=ChatCompletion,
        events=ChatCompletionChunk,
        done=True,
    ),
    _asked(
        path="/v1/completions",
        id="createCompletion",
        summary="Go on with a text",
        body=CompletionBody,
        answer=Completion,
        events=Completion,
        done=True,
    ),
    _asked(
        path="/v1/embeddings",
        id="createEmbedding",
        summary="Embed texts",
        body=EmbeddingBody,
        answer=Embeddings,
    ),
    _classified(path="/classify", id="classify"),
    _classified(path="/v1/classify", id="classifyV1"),
)
