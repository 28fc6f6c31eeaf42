"""Is the process alive, can it answer, and its figures: open to whoever can reach the port, so without any content."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from tokenworks.gateway.exchange import Exchange, Handle, Reply, Routes
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.metrics import CONTENT_TYPE, Metrics
from tokenworks.governance.policy.folder import InForce
from tokenworks.serving.supervisor import EngineStatus

Engines = Callable[[], Mapping[str, EngineStatus]]
Together = Callable[[bytes], Awaitable[bytes]]


def health_face(
    engines: Engines, admit: Admit, policies: InForce, metrics: Metrics, together: Together | None
) -> Routes:
    """Return the routes; `together` adds what other processes of this server counted."""
    return {
        ("GET", "/healthz"): ("health", _alive),
        ("GET", "/readyz"): ("health", _readiness(engines, admit, policies)),
        ("GET", "/metrics"): ("metrics", _figures(engines, metrics, together)),
    }


async def _alive(exchange: Exchange) -> Reply:
    """Say that the process answers."""
    return Reply(status=200, body=b'{"status":"ok"}')


def _readiness(engines: Engines, admit: Admit, policies: InForce) -> Handle:
    """Return the handle of /readyz: 503 while draining, or when every engine has given up."""

    async def ready(exchange: Exchange) -> Reply:
        statuses = engines()
        failed = [ref for ref, status in statuses.items() if status.state == "failed"]
        state = "ready" if not failed else "degraded"
        if admit.draining:
            state = "draining"
        elif failed and len(failed) == len(statuses):
            state = "failed"
        shown = {ref: {"state": s.state, "restarts": s.restarts} for ref, s in statuses.items()}
        ruled = {"digest": policies.policies.digest, "state": "broken" if policies.problem else "in force"}
        status = 200 if state in ("ready", "degraded") else 503
        return Reply(status=status, body=msgspec.json.encode({"status": state, "engines": shown, "policies": ruled}))

    return ready


def _figures(engines: Engines, metrics: Metrics, together: Together | None) -> Handle:
    """Return the handle of /metrics."""

    async def show(exchange: Exchange) -> Reply:
        own = metrics.text(engines())
        body = own if together is None else await together(own)
        return Reply(status=200, body=body, headers=(("content-type", CONTENT_TYPE),))

    return show
