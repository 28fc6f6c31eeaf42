"""May this key use this service besides models: its scope, and the policies."""

from __future__ import annotations

from dataclasses import dataclass

from tokenworks.gateway.errors import forbidden
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.ruling import Rules, Ruling

ACTIONS = {  # by the endpoints of the platform
    "files": "files",
    "batches": "files",
    "fine_tuning": "tune",
    "evals": "evals",
}


@dataclass(frozen=True)
class Service:
    """Ask the policies for one action."""

    rules: Rules
    action: str

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Let through whom scope and policies let."""
        require_scope(exchange.who, self.action)
        door = self.rules.service(exchange.who, self.action)
        exchange.ruling = Ruling(self.rules, exchange.who, None, door)
        if door.refusal:
            raise forbidden(door.refusal, code=door.code)
        return await proceed(exchange)
