"""One method of one path as it is described. Knows no OpenAPI: `document` writes that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

NAMED = re.compile(r"\{(\w+)\}")
HEALTH = frozenset[int]()
KEYED = frozenset({401, 500, 503})  # what any key may be told
READ = frozenset({400, 408, 413, 415})  # what the reading of a body may end with
SERVICE = KEYED | READ | {403}
TOKENS = SERVICE | {404, 409, 422, 429, 502, 504}


class Shown(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is answered. It is never built: answers are made where they are known, and tests hold them to this."""


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine answers: fields that are not named here are passed on too."""


class Error(Passed, frozen=True, kw_only=True):
    """What was wrong, where, and the way out."""

    message: str
    type: str | msgspec.UnsetType = msgspec.UNSET
    param: str | msgspec.UnsetType | None = msgspec.UNSET
    code: str | int | msgspec.UnsetType | None = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET


class Refusal(Passed, frozen=True, kw_only=True):
    """OpenAI's error object; `request_id` is ours."""

    error: Error


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter behind the question mark. A `family` is asked as `name[KEY]`."""

    name: str
    type: Any
    summary: str
    family: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked and answered. `path` names what stands where a route has a `*`."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    id: str
    tag: str
    summary: str
    body: Any = None  # the type that parses it
    form: Any = None  # the fields of a multipart form, where the body is one
    answer: Any = None  # the type of the answer; None: it is no JSON, but `media`
    status: int = 200
    also: tuple[int, ...] = ()  # other statuses with the same answer
    media: str = "application/json"
    events: Any = None  # the data of each event, where the answer may be a stream
    done: bool = False  # whether a stream ends with [DONE]
    refusals: frozenset[int] = KEYED
    refusal: Any = Refusal
    query: tuple[Query, ...] = ()
    headers: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()  # headers of every answer
    family: str = ""  # what the names of its types begin with
    narrowed: Mapping[str, Any] = {}  # fields that are parsed in two steps, with what the second step takes
    optional: tuple[tuple[str, str], ...] = ()  # (type, field) that may be left out, though the parser has it

    @property
    def place(self) -> tuple[str, str]:
        """Method and path as the face has them."""
        return self.method, NAMED.sub("*", self.path)

    @property
    def named(self) -> tuple[str, ...]:
        """What the path names."""
        return tuple(NAMED.findall(self.path))
