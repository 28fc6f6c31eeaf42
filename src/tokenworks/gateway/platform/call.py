"""A request to the platform as its endpoints see it, and the way from there to an HTTP answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.gateway.errors import bad_request, forbidden
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.openai.bodies import decode, refuse_duplicates
from tokenworks.governance.keys import Principal

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Call:
    """Who asks what. `label` is what the caller declares, else the most that the key could have taken text from.

    `said` is what the caller declares, else the least there is: of what adds to something that has a label.
    """

    who: Principal
    targets: tuple[str, ...]
    query: dict[str, str]
    body: bytes
    label: Label
    said: Label

    def decode(self, into: type[T]) -> T:
        """Return the body; raise the 400 that names an unknown field or a wrong value."""
        found = decode(into, self.body)
        refuse_duplicates(self.body)
        return found

    def known(self, *names: str) -> None:
        """Raise 400 for a query parameter that is none of `names`; one that ends in `[` stands for a family."""
        families = tuple(name for name in names if name.endswith("["))
        for name in self.query:
            of_family = families and name.startswith(families) and name.endswith("]")
            if name not in names and not of_family:
                there = ", ".join(name + "...]" if name.endswith("[") else name for name in names) or "none"
                raise bad_request(
                    f"unknown parameter {name!r}; there are: {there}", param=name, code="unknown_parameter"
                )


async def call_of(exchange: Exchange, scope: str) -> Call:
    """Return the request; raise 403 where the key lacks `scope` or the label that it declares."""
    require_scope(exchange.who, scope)
    exchange.body = await exchange.read()
    label = declared(exchange)
    said = label if exchange.declared else Label.PUBLIC
    return Call(exchange.who, exchange.targets, query_of(exchange), exchange.body, label, said)


def query_of(exchange: Exchange) -> dict[str, str]:
    """Return the parameters behind the question mark; raise 400 where one stands twice."""
    pairs = parse_qsl(exchange.query, keep_blank_values=True)
    for name, _ in pairs:
        if sum(other == name for other, _ in pairs) > 1:
            raise bad_request(f"parameter {name!r} stands twice; send it once", param=name, code="duplicate_field")
    return dict(pairs)


def declared(exchange: Exchange) -> Label:
    """Return the label of what is sent: where none is declared, the key's clearance, the most that it may be."""
    clearance = exchange.who.clearance
    try:
        label = Label.parse(exchange.declared) if exchange.declared else clearance
    except ConfigError as error:
        raise bad_request(f"header x-tokenworks-label: {error}", param="x-tokenworks-label") from None
    if label > clearance:
        raise forbidden(
            f"the data is declared {label} and this key is cleared for {clearance}: ask for a key cleared for {label}",
            code="clearance_too_low",
            param="x-tokenworks-label",
        )
    return label


def endpoint(scope: str, answer: Callable[[Call], Any], *, status: int = 200) -> Handle:
    """Return the handle that answers with `answer`, which may block: it is called in a thread."""

    async def handle(exchange: Exchange) -> Reply:
        call = await call_of(exchange, scope)
        return reply(await asyncio.to_thread(answer, call), status)

    return handle


def reply(body: Any, status: int = 200) -> Reply:
    """Return `body` as a JSON answer."""
    return Reply(status=status, body=msgspec.json.encode(body))
