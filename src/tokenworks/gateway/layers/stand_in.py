"""Who asks, where the caller is gone and work goes on in their name: the key as it stands now, found by its id."""

from __future__ import annotations

from dataclasses import dataclass

from tokenworks.gateway.errors import unauthenticated
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.governance.credentials import Identities
from tokenworks.governance.keys import KeyRefusedError


@dataclass(frozen=True)
class StandIn:
    """Stands in the place of `Identify` in a stack that no request from outside reaches."""

    keys: Identities

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Set the principal of the key whose id is the credential; one that was revoked meanwhile opens nothing."""
        try:
            exchange.principal = await self.keys.stand_in(exchange.credential)
        except KeyRefusedError as error:
            raise unauthenticated(str(error)) from None
        return await proceed(exchange)
