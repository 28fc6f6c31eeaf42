"""Is the answer for later: then it is only accepted here, and asked for when this request is over."""

from __future__ import annotations

from tokenworks.gateway.exchange import Exchange, Handle, Reply


async def later(exchange: Exchange, proceed: Handle) -> Reply:
    """Say that it is accepted; nothing of it is learned from, and it counts for no trial."""
    if exchange.later is None:
        return await proceed(exchange)
    exchange.may_learn, exchange.version, exchange.arm = False, "", ""
    exchange.instead = exchange.beside = None
    return await exchange.later()
