"""The fields of /v1/messages as Anthropic publishes them. A field that no struct here has is refused by its name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.gateway.openai.fields import Fraction, Name, Positive

Words = Annotated[str, Meta(min_length=1)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """A piece of content. `cache_control` is a hint: prefixes are cached here without being told."""

    cache_control: dict[str, Any] | None = None


class TextPart(_Part, frozen=True, kw_only=True, tag="text"):
    """Some text."""

    text: str
    citations: None = None


class Base64Source(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="base64"
):
    """A picture that was sent along."""

    media_type: Words
    data: Words


class UrlSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="url"):
    """A picture elsewhere."""

    url: Words


class ImagePart(_Part, frozen=True, kw_only=True, tag="image"):
    """A picture."""

    source: Base64Source | UrlSource


class ToolUsePart(_Part, frozen=True, kw_only=True, tag="tool_use"):
    """What the model wanted a tool to do."""

    id: Words
    name: Words
    input: dict[str, Any]


class ToolResultPart(_Part, frozen=True, kw_only=True, tag="tool_result"):
    """What a tool said."""

    tool_use_id: Words
    content: str | list[TextPart] = ""
    is_error: bool | None = None


Part = TextPart | ImagePart | ToolUsePart | ToolResultPart


class Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Part]


class Tool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool that the caller runs. Tools that a provider runs have another type, and are refused."""

    name: Words
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a tool is to be used, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Metadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For whom the caller asks."""

    user_id: str | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thinking can be left out, which it is; not asked for."""

    type: Literal["disabled"]


class Schema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON that an answer must be."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an answer must be, and how hard to think about it."""

    format: Schema | None = None
    effort: str | None = None


class Counted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/messages/count_tokens."""

    model: Name
    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: str | list[TextPart] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    cache_control: dict[str, Any] | None = None


class Wanted(Counted, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/messages."""

    max_tokens: Positive
    stop_sequences: Annotated[list[Words], Meta(max_length=16)] | None = None
    stream: bool | None = None
    temperature: Fraction | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Positive | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard"] | None = None
    output_config: OutputConfig | None = None
