"""A stream whose beginning was awaited: until then another destination can still be asked."""

from __future__ import annotations

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.serving.answer import Chunks, EngineAnswer, Passing


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


class Begun(Passing):
    """Chunks of which the first was read already."""

    def __init__(self, first: bytes, rest: Chunks) -> None:
        super().__init__(rest)
        self._first: bytes | None = first

    def at_hand(self) -> bytes | None:
        """Return what is here, behind the first chunk."""
        return super().at_hand() if self._first is None else None

    async def __anext__(self) -> bytes:
        """Return the next chunk."""
        first, self._first = self._first, None
        return await self._chunks.__anext__() if first is None else first
