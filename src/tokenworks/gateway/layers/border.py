"""Where exceptions end: whatever happens inside becomes an answer here. Requests for tokens have `record` instead."""

from __future__ import annotations

import structlog

from tokenworks.gateway.errors import ApiError, internal
from tokenworks.gateway.exchange import Exchange, Handle, Reply

log = structlog.get_logger()


async def answered(exchange: Exchange, proceed: Handle) -> tuple[Reply, str]:
    """Return what the inside answers, or the error object for what it raised, with the error's code."""
    try:
        return await proceed(exchange), ""
    except ApiError as error:
        return error.reply(exchange.request_id), error.code
    except Exception:
        log.exception("request failed", request_id=exchange.request_id, endpoint=exchange.endpoint)
        fault = internal(exchange.request_id)
        return fault.reply(exchange.request_id), fault.code


async def border(exchange: Exchange, proceed: Handle) -> Reply:
    """Answer whatever happens."""
    reply, _ = await answered(exchange, proceed)
    return reply
