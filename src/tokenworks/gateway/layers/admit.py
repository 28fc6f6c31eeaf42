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
        self.enter()
        try:
            reply = await proceed(exchange)
        except BaseException:
            self.leave()
            raise
        if isinstance(reply.body, bytes):
            self.leave()
            return reply
        return EngineAnswer(
            status=reply.status, body=Watched(reply.body, self.leave), headers=reply.headers, engine=reply.engine
        )

    @property
    def has_room(self) -> bool:
        """Whether one more is taken now."""
        return not self.draining and self.in_flight < self._most

    def enter(self) -> None:
        """One more is under way."""
        self.in_flight += 1

    def leave(self) -> None:
        """One has ended."""
        self.in_flight -= 1
