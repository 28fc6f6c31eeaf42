"""Builds the gateway from its parts: the stack, the HTTP face over it, and the same stack for callers in process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tokenworks.core.request import Answerer
from tokenworks.core.structs import prepare
from tokenworks.gateway.answer import answerer
from tokenworks.gateway.anthropic.routes import messages_face
from tokenworks.gateway.duties import duties_of
from tokenworks.gateway.exchange import Handle, Routes
from tokenworks.gateway.health import health_face
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.mirror import Mirror
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.openai.face import Face
from tokenworks.gateway.openapi.serving import openapi_face
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.plain.short import short_form
from tokenworks.gateway.platform.routes import Platform
from tokenworks.gateway.rerank import rerank_face
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.services import platform_services, services
from tokenworks.gateway.ways import ways_of


@dataclass(frozen=True)
class Gateway:
    """A gateway ready to be served."""

    app: Face  # for `server.serve`
    handle: Handle  # the stack itself
    answer: Answerer  # the stack for callers in process
    admit: Admit  # set `draining` before stopping
    mirror: Mirror  # close it before the engines
    limit: Limit  # close it last
    schedule: Schedule
    figures: Callable[[], bytes]  # of this process, as Prometheus reads them
    platform: Platform | None = None

    def drain(self) -> None:
        """Take no more requests; /readyz says so."""
        self.admit.draining = True


def build(parts: GatewayParts) -> Gateway:
    """Return the gateway. Call it on the event loop that will serve it."""
    prepare()
    duties, router = duties_of(parts), parts.router or Router(parts.pool.generate)
    ways, engines, metrics = ways_of(parts, duties, router), parts.engines or parts.pool.status, duties.record.metrics
    routes: Routes = {
        **rerank_face(ways.tokens),
        **messages_face(ways.tokens),
        **services(parts, duties),
        **health_face(engines, duties.admit, duties.rules.in_force, metrics, parts.together),
        **openapi_face(lambda: face.served),
    }
    platform = None
    if parts.platform is not None:
        platform, more = platform_services(parts.platform, parts, duties, ways)
        routes |= more
    max_body = int(parts.server.max_body_mb * 1e6)
    short = short_form(parts, duties, router, max_body=max_body)
    face = Face(ways.tokens, routes, max_body=max_body, at_once=short)
    return Gateway(
        app=face,
        handle=ways.tokens,
        answer=answerer(ways.tokens),
        admit=duties.admit,
        mirror=duties.mirror,
        limit=duties.limit,
        schedule=duties.schedule,
        figures=lambda: metrics.text(engines()),
        platform=platform,
    )
