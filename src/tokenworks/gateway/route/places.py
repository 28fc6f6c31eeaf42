"""A destination as the router sees it: who it is, how it is asked, how it fares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tokenworks.core.destination import HERE, Destination
from tokenworks.gateway.route.breaker import Breaker
from tokenworks.serving.answer import EngineAnswer, EngineCall

Ask = Callable[[EngineCall], Awaitable[EngineAnswer]]


class Place:
    """One engine process of this site, or one server elsewhere."""

    def __init__(
        self,
        destination: Destination,
        ask: Ask,
        *,
        first_byte_s: float,
        replica: int = -1,
        breaker: Breaker | None = None,
    ) -> None:
        self.destination = destination
        self.ask = ask
        self.first_byte_s = first_byte_s
        self.replica = replica  # of an engine of this site; -1: elsewhere
        self.breaker = breaker or Breaker()
        self.under_way = 0

    @property
    def here(self) -> bool:
        """Whether it is an engine of this site."""
        return self.replica >= 0

    @property
    def name(self) -> str:
        """How callers and the ledger know it."""
        return HERE if self.here else self.destination.name
