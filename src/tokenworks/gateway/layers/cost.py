"""What the answer cost, told with it: headers, fields of its `usage`, and a comment at the end of a stream.

Stands around the layer that measures, for shadows and canaries too: whatever an engine did was paid for.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from tokenworks.core.destination import HERE
from tokenworks.core.usage import Spent
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.ledger.spending import alias_of
from tokenworks.metering.money.request_cost import Costs
from tokenworks.serving.answer import Chunks, Passing

Shown = Literal["all", "price", "nothing"]
MICRO = 1_000_000
_USAGE = b'"usage":'
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Told(NamedTuple):
    """Figures of one answer; None: not known."""

    price_micro: int | None
    cost_micro: int | None
    spent: Spent


class Cost:
    """Set the cost that goes on the entry, and tell the caller as much of it as `shown` allows."""

    def __init__(self, costs: Costs | None, *, currency: str, shown: Shown) -> None:
        self._costs = costs
        self._currency = currency
        self._shown = shown

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Answer, with the figures."""
        exchange.cost = None
        exchange.costing = self._cost
        reply = await proceed(exchange)
        if self._shown == "nothing" or exchange.arm == "shadow":
            return reply
        if not isinstance(reply.body, bytes):
            return msgspec.structs.replace(reply, body=_Telling(self, exchange, reply.body))
        if reply.status != 200:
            return reply
        told = self.told(exchange)
        body = with_figures(reply.body, self.figures(told)) if _USAGE in reply.body else reply.body
        return msgspec.structs.replace(reply, body=body, headers=(*reply.headers, *self.headers(told)))

    def _cost(self, exchange: Exchange) -> int | None:
        """Return what the exchange has cost the house so far, in millionths."""
        if self._costs is None or exchange.call is None:
            return None
        place = next((one.to for one in reversed(exchange.sent) if one.ended == "ok"), HERE)
        model = alias_of(exchange.version) or alias_of(exchange.what.model)
        return self._costs.micro(at=exchange.at, model=model, place=place, usage=exchange.usage, spent=exchange.spent)

    def told(self, exchange: Exchange) -> Told:
        """Return what the caller may know of an answer that is complete."""
        price = exchange.price_micro() if exchange.price is not None else None
        if self._shown == "price":
            return Told(price, None, Spent())
        return Told(price, exchange.cost_micro(), exchange.spent)

    def headers(self, told: Told) -> tuple[tuple[str, str], ...]:
        """Return the figures as headers: amounts in units of the currency, energy in joules."""
        found: list[tuple[str, str]] = []
        if told.price_micro is not None:
            found.append(("x-tokenworks-price", amount(told.price_micro)))
        if told.cost_micro is not None:
            found.append(("x-tokenworks-cost", amount(told.cost_micro)))
        if found:
            found.append(("x-tokenworks-currency", self._currency))
        if told.spent.joules is not None:
            found.append(("x-tokenworks-joules", f"{told.spent.joules:.6g}"))
            found.append(("x-tokenworks-joules-error", f"{told.spent.joules_error:.3g}"))
            found.append(("x-tokenworks-meter", told.spent.meter))
        return tuple(found)

    def figures(self, told: Told) -> dict[str, Any]:
        """Return the figures as fields of `usage`, those that are known."""
        found: dict[str, Any] = {"price_micro": told.price_micro, "cost_micro": told.cost_micro}
        if told.price_micro is not None or told.cost_micro is not None:
            found["currency"] = self._currency
        return {name: value for name, value in found.items() if value is not None}


class _Telling(Passing):
    """A stream whose usage event, where the caller asked for one, has the figures; a comment ends every stream."""

    def __init__(self, cost: Cost, exchange: Exchange, chunks: Chunks) -> None:
        super().__init__(chunks)
        self._cost = cost
        self._exchange = exchange
        self._held = b""
        self._over = False

    def at_hand(self) -> bytes | None:
        """Return the events that are here, none after the usage."""
        if self._over:
            return None
        chunk = super().at_hand()
        return self._told(chunk) if chunk else chunk

    async def __anext__(self) -> bytes:
        """Return the next events."""
        if self._over:
            raise StopAsyncIteration
        try:
            chunk = await self._chunks.__anext__()
        except StopAsyncIteration:
            self._over = True
            if last := self._usage() + self._comment():
                return last
            raise
        return self._told(chunk) or await self.__anext__()

    def _told(self, chunk: bytes) -> bytes:
        """Return what goes on now: a usage event stays until it is known what the engine spent, which it says last."""
        if self._exchange.what.include_usage and _USAGE in chunk:
            passed, self._held = self._held, chunk
        else:
            passed, self._held = self._held + chunk, b""
        return passed

    def _usage(self) -> bytes:
        return in_events(self._held, self._cost.figures(self._cost.told(self._exchange))) if self._held else b""

    def _comment(self) -> bytes:
        """Return the headers that could not be sent at the beginning, as a comment, which clients skip."""
        headers = self._cost.headers(self._cost.told(self._exchange))
        return b"".join(f": {name}: {value}\n".encode() for name, value in headers) + b"\n" if headers else b""


def with_figures(body: bytes, figures: dict[str, Any]) -> bytes:
    """Return the JSON object `body` with `figures` in its `usage`, where it has one; other fields keep their bytes."""
    try:
        found = _fields(body)
        usage = _fields(found["usage"])
    except (msgspec.MsgspecError, KeyError):
        return body
    return _encode({**found, "usage": {**usage, **figures}})


def in_events(chunk: bytes, figures: dict[str, Any]) -> bytes:
    """Return whole server-sent events with `figures` in the usage of those that have one."""
    events = chunk.split(b"\n\n")
    return b"\n\n".join(
        b"data: " + with_figures(event[len(b"data:") :], figures)
        if event.startswith(b"data:") and _USAGE in event
        else event
        for event in events
    )


def amount(micro: int) -> str:
    """Return millionths as a decimal number."""
    return f"{micro // MICRO}.{micro % MICRO:06d}"
