"""One text for the synchronous and the asynchronous client: awaits what must be awaited, and iterates either way."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any


async def done(given: Any) -> Any:
    """Return what a call gives, at once or later."""
    return await given if inspect.isawaitable(given) else given


async def each(stream: Any) -> AsyncIterator[Any]:
    """Yield the parts of a stream or the entries of a list that comes in pages."""
    if hasattr(stream, "__aiter__"):
        async for part in stream:
            yield part
    else:
        for part in stream:
            yield part


async def everything(stream: Any) -> list[Any]:
    """Return all parts."""
    return [part async for part in each(stream)]


class Entered:
    """A context manager of either kind, entered."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        if hasattr(self._manager, "__aenter__"):
            return await self._manager.__aenter__()
        return self._manager.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        if hasattr(self._manager, "__aexit__"):
            await self._manager.__aexit__(*error)
        else:
            self._manager.__exit__(*error)
