"""No user pays for a trial: where a canary cannot answer, the incumbent does, and the failure is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import msgspec
import structlog

from tokenworks.core.errors import EngineError
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.notes import Notes, entry_of
from tokenworks.serving.answer import Chunks

FAILED = "-canary"  # ends the id of the entry that a failed canary leaves
log = structlog.get_logger()


@dataclass(frozen=True)
class Rescue:
    """Ask the incumbent where a canary fails before its first byte. Later it is too late: the user has seen it."""

    notes: Notes

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Answer, by whoever can."""
        if exchange.instead is None:
            return await proceed(exchange)
        try:
            reply = await proceed(exchange)
            if reply.status < 500:
                return await _begun(reply)
            why = (reply.status, "engine_error")
        except ApiError as error:
            if error.status < 500:
                raise
            why = (error.status, error.code)
        except EngineError as error:
            why = (502, str(error)[:80])
        await self._note(exchange, *why)
        _turn_to_incumbent(exchange)
        return await proceed(exchange)

    async def _note(self, exchange: Exchange, status: int, code: str) -> None:
        log.warning("canary failed", request_id=exchange.request_id, version=exchange.version, code=code)
        entry = entry_of(exchange, outcome="failed", status=status, code=code, answer=b"")
        entry = msgspec.structs.replace(entry, request_id=f"{exchange.request_id}{FAILED}")
        await self.notes.write(entry, b"", b"")


def _turn_to_incumbent(exchange: Exchange) -> None:
    """Leave the trial: the request counts for neither arm. Its label can only rise."""
    incumbent = exchange.instead
    assert incumbent is not None, "there is an incumbent wherever there is a canary"
    exchange.label = highest([exchange.label or Label.PUBLIC, Label.parse(incumbent.label)])
    exchange.version, exchange.arm, exchange.instead = incumbent.ref, "", None


async def _begun(reply: Reply) -> Reply:
    """Return `reply` once its first chunk is here: a stream that breaks before that can still be answered otherwise."""
    if isinstance(reply.body, bytes):
        return reply
    try:
        first = await anext(reply.body)
    except StopAsyncIteration:
        return reply
    except EngineError:
        await reply.body.aclose()
        raise
    return msgspec.structs.replace(reply, body=_Begun(first, reply.body))


class _Begun:
    """A stream whose first chunk was read already."""

    def __init__(self, first: bytes, rest: Chunks) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk."""
        first, self._first = self._first, None
        return await self._rest.__anext__() if first is None else first

    async def aclose(self) -> None:
        """Want no more."""
        await self._rest.aclose()
