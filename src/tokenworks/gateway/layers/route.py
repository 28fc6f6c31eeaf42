"""Which engine is asked, in which words; and what its failures mean to the caller."""

from __future__ import annotations

import structlog

from tokenworks.core.errors import EngineError, TokenworksError
from tokenworks.gateway.errors import engine_failed, unavailable
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.openai.bodies import PATHS, with_bound, with_usage
from tokenworks.gateway.route.affinity import cache_salt
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.supervisor import NotReadyError

GENERATES = ("chat.completions", "completions")  # with keys and values of prompts that stay for the next one
log = structlog.get_logger()


async def route(exchange: Exchange, proceed: Handle) -> Reply:
    """Make the call; the bytes go on as they came unless usage has to be asked for."""
    exchange.call = call_of(exchange)
    return await explained(exchange, proceed)


async def explained(exchange: Exchange, proceed: Handle) -> Reply:
    """Tell callers what failures of engines mean to them."""
    try:
        return await proceed(exchange)
    except NotReadyError as error:
        raise unavailable(str(error), code="engine_starting", retry_after_s=error.retry_after_s) from None
    except EngineError as error:
        log.warning("engine failed", request_id=exchange.request_id, version=exchange.version, error=str(error))
        raise engine_failed(f"{_for_callers(error)}; ask again, the engine is restarted by itself") from None
    except TokenworksError as error:
        log.warning("engine refused", request_id=exchange.request_id, version=exchange.version, error=str(error))
        message = f"model version {exchange.version} cannot be served: {_for_callers(error)}"
        raise unavailable(message, code="model_unavailable", retry_after_s=30) from None


def call_of(exchange: Exchange) -> EngineCall:
    """Return what an engine is asked."""
    asked = exchange.what
    body = exchange.body if exchange.answer_most is None else with_bound(exchange.body, exchange.answer_most)
    return EngineCall(
        ref=exchange.version,
        path=PATHS[exchange.endpoint],
        body=with_usage(body) if asked.stream else body,
        stream=asked.stream,
        request_id=exchange.request_id,
        wait_s=None if exchange.instead is None else 0.0,  # nobody waits for a canary to be started again
        traffic=exchange.traffic,
        cache_salt=cache_salt(exchange) if exchange.endpoint in GENERATES else "",
    )


def _for_callers(error: Exception) -> str:
    """Return the first line of an error: what an engine said last is for the log, not for callers."""
    return str(error).partition("\n")[0].removesuffix("; its last words:")
