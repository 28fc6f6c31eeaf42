"""A server elsewhere that is asked, and an account kept of when: what requests took of it is told by that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self

import msgspec

from tokenworks.metering.attribution.coarse.account import FarAccount, FarWork
from tokenworks.serving.answer import Chunks, EngineAnswer, EngineCall


class Accounted:
    """Asks as `ask` does; each attempt's work is put into the call, for whoever knows in the end what it came to."""

    def __init__(self, name: str, ask: Callable[[EngineCall], Awaitable[EngineAnswer]], account: FarAccount) -> None:
        self._name, self._ask, self._account = name, ask, account

    async def __call__(self, call: EngineCall) -> EngineAnswer:
        """Return the answer."""
        work = self._account.begin(self._name, len(call.body))
        call.works.append(work)
        try:
            answer = await self._ask(call)
        except BaseException:
            work.drop()
            raise
        if not isinstance(answer.body, bytes):
            return msgspec.structs.replace(answer, body=_Seen(answer.body, work))
        if answer.status == 200:
            work.ended()
        else:
            work.drop()
        return answer


class _Seen:
    """A stream, with its first bytes and its end noted."""

    def __init__(self, chunks: Chunks, work: FarWork) -> None:
        self._chunks, self._work = chunks, work
        self._begun = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return some more bytes."""
        try:
            chunk = await self._chunks.__anext__()
        except BaseException:
            self._work.ended()
            raise
        if not self._begun:
            self._begun = True
            self._work.first()
        return chunk

    async def aclose(self) -> None:
        """Want no more."""
        self._work.ended()
        await self._chunks.aclose()
