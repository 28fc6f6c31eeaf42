"""Where exceptions end: whatever happens inside becomes an answer here. Requests for tokens have `record` instead."""

from __future__ import annotations

import structlog

from tokenworks.core.errors import StoreError
from tokenworks.gateway.errors import ApiError, internal, unavailable
from tokenworks.gateway.exchange import Exchange, Handle, Reply

AWAY = "what the gateway needs to know cannot be read or written now; ask again, or ask another host"
log = structlog.get_logger()


async def answered(exchange: Exchange, proceed: Handle) -> tuple[Reply, str]:
    """Return what the inside answers, or the error object for what it raised, with the error's code."""
    try:
        return await proceed(exchange), ""
    except ApiError as error:
        return error.reply(exchange.request_id), error.code
    except Exception as error:
        if type(error) is StoreError:  # one of its kinds would be a fault of ours
            log.error("store cannot be used", request_id=exchange.request_id, error=str(error))
            away = unavailable(AWAY, code="store_unavailable", retry_after_s=1)
            return away.reply(exchange.request_id), away.code
        log.exception("request failed", request_id=exchange.request_id, endpoint=exchange.endpoint)
        fault = internal(exchange.request_id)
        return fault.reply(exchange.request_id), fault.code


async def border(exchange: Exchange, proceed: Handle) -> Reply:
    """Answer whatever happens."""
    reply, _ = await answered(exchange, proceed)
    return reply
