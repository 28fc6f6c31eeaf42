"""Is there room: bounds the requests under way, and takes no new ones while draining."""

from __future__ import annotations

from tokenworks.gateway.errors import unavailable
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.serving.answer import EngineAnswer, Watched


class Admit:
    """Count requests from here to the end of their answers."""

    def __init__(self, max_in_flight: int) -> None:
        self.in_flight = 0
        self.draining = False
        self._most = max_in_flight

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Refuse with 503 what would be too much."""
        if self.draining:
            raise unavailable(
                "the gateway is shutting down; ask again in a moment", code="shutting_down", retry_after_s=5
            )
        if self.in_flight >= self._most:
            message = (
                f"{self._most} requests are already under way; ask again in a moment, or raise server.max_in_flight"
            )
            raise unavailable(message, code="overloaded", retry_after_s=1)
        self.in_flight += 1
        try:
            reply = await proceed(exchange)
        except BaseException:
            self._leave()
            raise
        if isinstance(reply.body, bytes):
            self._leave()
            return reply
        return EngineAnswer(
            status=reply.status, body=Watched(reply.body, self._leave), headers=reply.headers, engine=reply.engine
        )

    def _leave(self) -> None:
        self.in_flight -= 1
