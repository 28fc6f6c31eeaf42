"""/v1/responses: OpenAI's stateful form."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from tokenworks.gateway.openapi.lists import PAGED, Page
from tokenworks.gateway.openapi.operation import KEYED, READ, TOKENS, Error, Operation, Shown
from tokenworks.gateway.openapi.tokens import HEADERS
from tokenworks.gateway.responses.fields import Item, Wanted, Words


class InputDetails(Shown, frozen=True, kw_only=True):
    """Of the prompt."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Shown, frozen=True, kw_only=True):
    """Of the answer."""

    reasoning_tokens: int


class Usage(Shown, frozen=True, kw_only=True):
    """Tokens as responses count them."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class TextPart(Shown, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """What was said."""

    text: str
    annotations: list[Any]
    logprobs: list[Any]


class Said(Shown, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """The answer's text."""

    id: str
    status: str
    role: Literal["assistant"]
    content: list[TextPart]


class Called(Shown, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A function that is to be called."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: str


class WhyShort(Shown, frozen=True, kw_only=True):
    """Why an answer is not complete."""

    reason: str


class Thought(Shown, frozen=True, kw_only=True):
    """How hard was thought."""

    effort: str | None
    summary: None


class Written(Shown, frozen=True, kw_only=True):
    """What the answer had to look like."""

    format: dict[str, Any]


class Response(Shown, frozen=True, kw_only=True):
    """A response."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: Error | None
    incomplete_details: WhyShort | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[Said | Called]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: Thought
    store: bool
    temperature: float
    text: Written
    tool_choice: str | dict[str, str]
    tools: list[dict[str, Any]]
    top_p: float
    truncation: Literal["disabled"]
    metadata: dict[str, str]
    usage: Usage | UnsetType = UNSET
    user: str | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET


class Event(Shown, frozen=True, kw_only=True):
    """An event of a streamed response; which fields it has, its type says."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    sequence_number: int
    response: Response | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    item: Said | Called | UnsetType = UNSET
    part: TextPart | UnsetType = UNSET
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: list[Any] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class InputItems(Page, frozen=True, kw_only=True):
    """What was asked."""

    data: list[dict[str, Any]]


class Deleted(Shown, frozen=True, kw_only=True):
    """It is forgotten."""

    id: str
    object: Literal["response"]
    deleted: bool


Input = Words | Annotated[list[Item], Meta(min_length=1)]
_one = partial(Operation, tag="Responses", family="Responses", refusals=KEYED | READ | {403, 404})
AT = "/v1/responses/{response_id}"
OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/responses",
        id="createResponse",
        tag="Responses",
        summary="Answer, in OpenAI's stateful form; with `background`, later",
        family="Responses",
        body=Wanted,
        narrowed={"input": Input},
        optional=(("Message", "type"),),
        answer=Response,
        events=Event,
        refusals=TOKENS,
        headers=HEADERS,
    ),
    _one(method="GET", path=AT, id="getResponse", summary="Return a response", answer=Response),
    _one(method="DELETE", path=AT, id="deleteResponse", summary="Forget a response", answer=Deleted),
    _one(method="POST", path=f"{AT}/cancel", id="cancelResponse", summary="Stop a response", answer=Response),
    _one(
        method="GET",
        path=f"{AT}/input_items",
        id="listInputItems",
        summary="Return what was asked",
        answer=InputItems,
        query=PAGED,
    ),
)
