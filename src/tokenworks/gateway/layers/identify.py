"""Who asks: the principal of the key, or of the token."""

from __future__ import annotations

from dataclasses import dataclass

from tokenworks.gateway.errors import unauthenticated, unavailable
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.governance.credentials import Identities
from tokenworks.governance.keys import KeyRefusedError
from tokenworks.governance.provider import ProviderDownError


@dataclass(frozen=True)
class Identify:
    """Let nobody in without a valid key or token."""

    keys: Identities

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Set the principal."""
        try:
            exchange.principal = await self.keys.verify(exchange.credential)
        except KeyRefusedError as error:
            raise unauthenticated(str(error)) from None
        except ProviderDownError:  # why is in the log; the token may well be good
            raise unavailable(
                "the identity provider cannot be asked now; ask again soon, or send an API key",
                code="identity_provider_unavailable",
                retry_after_s=2.0,
            ) from None
        return await proceed(exchange)
