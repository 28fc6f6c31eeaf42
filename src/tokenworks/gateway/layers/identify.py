"""Who asks: the key's principal."""

from __future__ import annotations

from dataclasses import dataclass

from tokenworks.gateway.errors import unauthenticated
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.governance.keys import KeyRefusedError, Keys


@dataclass(frozen=True)
class Identify:
    """Let nobody in without a valid key."""

    keys: Keys

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Set the principal."""
        try:
            exchange.principal = await self.keys.verify(exchange.credential)
        except KeyRefusedError as error:
            raise unauthenticated(str(error)) from None
        return await proceed(exchange)
