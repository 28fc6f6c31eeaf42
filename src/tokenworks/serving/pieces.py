"""Several prompts answered side by side, as one stream of pieces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import cast

import msgspec

from tokenworks.serving.engine import Engine, Piece, Sampling


async def merged(engine: Engine, prompts: list[str], sampling: Sampling) -> AsyncGenerator[Piece, None]:
    """Yield the pieces of all prompts as they come; choice `i` of prompt `p` has index `p * n + i`."""
    streams = [cast(AsyncGenerator[Piece, None], engine.generate(prompt, sampling)) for prompt in prompts]
    if len(streams) == 1:
        async with contextlib.aclosing(streams[0]) as only:
            async for piece in only:
                yield piece
        return
    waiting = {asyncio.ensure_future(anext(stream, None)): place for place, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                place = waiting.pop(task)
                found = task.result()
                if found is not None:
                    waiting[asyncio.ensure_future(anext(streams[place], None))] = place
                    yield msgspec.structs.replace(found, index=place * sampling.n + found.index)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
