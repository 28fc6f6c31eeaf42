"""A stream whose beginning was awaited: until then another destination can still be asked."""

from __future__ import annotations

from typing import Self

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.serving.answer import Chunks, EngineAnswer


async def begun(reply: EngineAnswer) -> EngineAnswer:
    """Return `reply` once its first chunk is here; raise `EngineError` where it breaks or begins with an error."""
    if isinstance(reply.body, bytes):
        return reply
    try:
        first = await anext(reply.body)
    except StopAsyncIteration:
        return reply
    except BaseException:
        await reply.body.aclose()
        raise
    if first.startswith(b'data: {"error"'):
        await reply.body.aclose()
        raise EngineError(f"the engine began with an error: {first[6:300].decode(errors='replace').strip()}")
    return msgspec.structs.replace(reply, body=Begun(first, reply.body))


class Begun:
    """Chunks of which the first was read already."""

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
