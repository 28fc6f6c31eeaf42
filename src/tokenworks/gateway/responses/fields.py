"""The fields of /v1/responses. A field that no struct here has is refused by its name; so is what is not done here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.gateway.openai.fields import Name, Positive

Words = Annotated[str, Meta(min_length=1)]


class InputText(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="input_text"
):
    """Some text of the user."""

    text: str


class OutputText(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="output_text"
):
    """Some text of the assistant, as an earlier answer had it."""

    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class InputImage(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="input_image"
):
    """A picture by its address, or sent along as a data URL."""

    image_url: Words
    detail: Literal["auto", "low", "high"] = "auto"


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="message"):
    """One turn."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText | OutputText | InputImage]
    id: str | None = None
    status: str | None = None


class FunctionCall(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function_call"
):
    """What the model wanted done."""

    call_id: Words
    name: Words
    arguments: str
    id: str | None = None
    status: str | None = None


class FunctionOutput(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function_call_output"
):
    """What came of it."""

    call_id: Words
    output: str
    id: str | None = None
    status: str | None = None


Item = Message | FunctionCall | FunctionOutput


class Tool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function"):
    """A function of the caller's. Tools that a provider runs are refused."""

    name: Words
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function"):
    """The function that is to be called."""

    name: Words


class Format(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class TextOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to write."""

    format: Format | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard to think; summaries are not made here."""

    effort: str | None = None
    summary: None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/responses."""

    model: Name
    input: Words | Annotated[list[dict[str, Any]], Meta(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    max_output_tokens: Positive | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    text: TextOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | Chosen | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["disabled"] | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    include: Annotated[list[str], Meta(max_length=0)] | None = None
