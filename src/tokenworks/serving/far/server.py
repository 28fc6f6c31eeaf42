"""One server elsewhere: its connections, and the words it is asked in. Knows nothing of routes, labels or callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import msgspec

from tokenworks import parts
from tokenworks.core.destination import Destination
from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.serving.address import parse_address
from tokenworks.serving.answer import Chunks, EngineAnswer, EngineCall
from tokenworks.serving.traffic import Traffic
from tokenworks.serving.upstream import Upstream

ROOM = "tokenworks.serving.far.shapes"
KEPT = (b"content-type", b"retry-after")
Headers = Sequence[tuple[str, str]]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is and how it wants to be asked. Comes from an operator's settings and from nowhere else."""

    name: str
    url: str
    shape: str = "openai"
    key: str = ""
    model: str = ""  # the name it knows the model by; empty: the one that was asked for
    region: str = ""
    api_version: str = ""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A request in a server's own words."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Retold(Protocol):
    """A stream put into OpenAI's words as it arrives."""

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes; raise `EngineError` where it holds an error."""
        ...


class Shape(Protocol):
    """What a server speaks. A module of `shapes/` offers `speak(site: Site) -> Shape`."""

    def ask(self, call: EngineCall) -> Letter:
        """Return the request; raise `UnspokenError` for what has no words there."""
        ...

    def answer(self, status: int, body: bytes) -> bytes:
        """Return a whole answer, or an error, in OpenAI's words."""
        ...

    def retell(self) -> Retold | None:
        """Return what puts one stream into OpenAI's words; None: it is in them already."""
        ...


class UnspokenError(EngineError):
    """The request holds what a server of this shape has no words for."""


class Far:
    """Asks one server. Redirects are not followed: they come back as what they are."""

    def __init__(self, site: Site) -> None:
        address = parse_address(site.url)
        if site.key and any(not 32 < ord(sign) < 127 for sign in site.key):
            raise ConfigError(
                f"the key of {site.name!r} holds signs that no HTTP header may; check its file for line ends"
            )
        self.site = site
        self._shape: Shape = parts.load(ROOM, site.shape).speak(site)
        self._upstream = Upstream(address)
        self._destination = Destination(name=site.name, region=site.region or "elsewhere")

    async def generate(self, call: EngineCall) -> EngineAnswer:
        """Return the answer in OpenAI's words; raise `EngineError` where there is none."""
        letter = self._shape.ask(call)
        headers = (*letter.headers, ("x-request-id", call.request_id)) if call.request_id else letter.headers
        traffic = Traffic(self._destination, self._upstream.address.netloc)
        call.traffic.append(traffic)
        response = await self._upstream.request(
            "POST", letter.path, letter.body, (*headers, *call.headers), traffic=traffic
        )
        kept = tuple(
            (name.decode(), value.decode("latin-1")) for name, value in response.headers.items() if name in KEPT
        )
        if not call.stream or response.status != 200:
            body = self._shape.answer(response.status, await response.read())
            return EngineAnswer(status=response.status, body=body, headers=_as_json(kept), engine=self.site.shape)
        retold = self._shape.retell()
        stream: Chunks = response if retold is None else _Retelling(response, retold)
        headers = (("content-type", "text/event-stream"),)
        return EngineAnswer(status=200, body=stream, headers=headers, engine=self.site.shape)

    def close(self) -> None:
        """Hang up everything."""
        self._upstream.close()


def _as_json(kept: Headers) -> tuple[tuple[str, str], ...]:
    return (("content-type", "application/json"), *(one for one in kept if one[0] != "content-type"))


class _Retelling:
    """A stream in a server's own words, handed on in OpenAI's."""

    def __init__(self, chunks: Chunks, retold: Retold) -> None:
        self._chunks = chunks
        self._retold = retold

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next events."""
        while True:
            if made := self._retold.feed(await self._chunks.__anext__()):
                return made

    async def aclose(self) -> None:
        """Want no more."""
        await self._chunks.aclose()


def fields_of(call: EngineCall) -> dict[str, Any]:
    """Return the fields of a request, each with the bytes that it came with."""
    fields: dict[str, Any] = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
    return fields
