"""The task that answers a request which cannot be answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tokenworks.gateway.http.incoming import Incoming

Answer = Callable[[Incoming], Awaitable[None]]
log = structlog.get_logger()


async def run(answer: Answer, request: Incoming) -> None:
    """Answer, whatever happens, and let the connection go on to its next request."""
    try:
        await answer(request)
    except asyncio.CancelledError:
        pass  # nobody else awaits this task: the server or a lost connection has cancelled it
    except Exception:
        log.exception("a request could not be answered", path=request.path)
    request.answered()
