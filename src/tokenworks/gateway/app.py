"""Builds the gateway from its parts: the stack, the HTTP face over it, and the same stack for callers in process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tokenworks.core.request import Answerer
from tokenworks.core.structs import prepare
from tokenworks.gateway.admission.remembered import Remembered
from tokenworks.gateway.answer import answerer
from tokenworks.gateway.anthropic.messages import CountTokens, Messages
from tokenworks.gateway.exchange import Handle, Layer
from tokenworks.gateway.feedback import Feedback, Given, Texts
from tokenworks.gateway.health import Engines, Together, alive, figures, readiness
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.layers.authorise import Authorise, Look
from tokenworks.gateway.layers.border import border
from tokenworks.gateway.layers.cost import Cost
from tokenworks.gateway.layers.identify import Identify
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.mirror import Mirror
from tokenworks.gateway.layers.once import Once
from tokenworks.gateway.layers.record import Record
from tokenworks.gateway.layers.rescue import Rescue
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.layers.service import ACTIONS, Service
from tokenworks.gateway.layers.stand_in import StandIn
from tokenworks.gateway.layers.terms import Terms
from tokenworks.gateway.layers.think import Think
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.models import listing
from tokenworks.gateway.moderations import Detectors, moderating
from tokenworks.gateway.notes import BodyStore, Notes, Writer
from tokenworks.gateway.openai.face import Face
from tokenworks.gateway.openapi.serving import describing
from tokenworks.gateway.plain.plain import Plain
from tokenworks.gateway.plain.plans import Plans
from tokenworks.gateway.platform.elsewhere import worker
from tokenworks.gateway.platform.routes import Parts, Platform, platform
from tokenworks.gateway.releases import Releases
from tokenworks.gateway.rerank import Rerank
from tokenworks.gateway.responses.background import Background
from tokenworks.gateway.responses.kept import KeptTexts
from tokenworks.gateway.responses.responses import Responses
from tokenworks.gateway.responses.routes import remembered
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.ruling import Rules
from tokenworks.gateway.search import Search, searching
from tokenworks.gateway.stack import fold, layers, layers_of_sample, with_later
from tokenworks.gateway.thinking.choices import Choices
from tokenworks.gateway.translate import translated
from tokenworks.governance.credentials import Identities
from tokenworks.governance.policy.folder import InForce
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.inflight import Inflight
from tokenworks.serving.pool import Pool
from tokenworks.settings import ServerSettings


class Bodies(BodyStore, Texts, KeptTexts, Protocol):
    """Texts beside the log."""


class Rows(Given, Protocol):
    """Requests and feedback on the ledger, by name."""

    def request(self, request_id: str, tenant: str) -> RequestEntry | None:
        """Return the tenant's request."""
        ...


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


Routes = dict[tuple[str, str], tuple[str, Handle]]


def _other_forms(tokens: Handle) -> Routes:
    """Return the routes of wire forms that are translated in front of `tokens`."""
    return {
        ("POST", "/v1/rerank"): ("embeddings", translated(tokens, Rerank)),
        ("POST", "/rerank"): ("embeddings", translated(tokens, Rerank)),
        ("POST", "/v1/messages"): ("chat.completions", translated(tokens, Messages)),
        ("POST", "/v1/messages/count_tokens"): ("tokenize", translated(tokens, CountTokens)),
    }


def _services(
    record: Record,
    identify: Identify,
    admit: Admit,
    rules: Rules,
    feedback: Feedback,
    models: Handle,
    search: Search | None,
    detectors: Detectors | None,
) -> Routes:
    """Return the routes of what may be asked besides models."""
    listed = fold([border, identify], models)
    give, seek = Service(rules, "feedback"), Service(rules, "search")
    return {
        ("GET", "/v1/models"): ("models", listed),
        ("GET", "/v1/models/*"): ("models", listed),
        ("POST", "/v1/feedback"): ("feedback", fold([border, identify, give, admit], feedback)),
        ("GET", "/v1/feedback/*"): ("feedback", fold([border, identify, give, admit], feedback.show)),
        ("POST", "/v1/vector_stores/*/search"): ("search", fold([record, identify, seek, admit], searching(search))),
        ("POST", "/v1/moderations"): ("moderations", fold([record, identify, admit], moderating(detectors))),
    }


def build(
    *,
    keys: Identities,
    limit: Limit,
    releases: Releases,
    pool: Pool,
    ledger: Writer,
    bodies: Bodies,
    keep_bodies: bool,
    lookup: Rows,
    search: Search | None = None,
    detectors: Detectors | None = None,
    server: ServerSettings | None = None,
    parts: Parts | None = None,
    engines: Engines | None = None,
    around: Callable[[Sequence[Layer]], Sequence[Layer]] = list,
    policies: InForce | None = None,
    look: Look | None = None,
    terms: Terms | None = None,
    schedule: Schedule | None = None,
    idempotency: Remembered | None = None,
    together: Together | None = None,
    router: Router | None = None,
    inflight: Inflight | None = None,
    cost: Cost | None = None,
    choices: Choices | None = None,
) -> Gateway:
    """Return the gateway. Call it on the event loop that will serve it.

    `lookup` finds requests and feedback on the ledger; it is asked in threads. With `parts` there are files,
    fine-tuning jobs and evals. `engines` says what to show of engines, by default those of the pool. `around` may
    put layers of its own among those of a request for tokens, such as those that trace. `policies` are in force, by
    default the built-in ones; `look` raises labels by what stands in prompts. `schedule` says whose turn it is;
    without it nobody waits for an engine. `idempotency` keeps the keys. `together` adds the figures of other
    processes. `router` says who answers, by default the pool. `cost` tells what answers cost. `choices` knows how each
    model thinks by default.
    """
    prepare()
    engines, router = engines or pool.status, router or Router(pool.generate)
    server = server or ServerSettings()
    schedule, terms = schedule or Schedule(), terms or Terms()
    metrics = Metrics()
    texts = bodies if keep_bodies else None
    notes = Notes(ledger, bodies=texts, find=lookup.request, inflight=inflight)
    record, identify, admit = Record(notes, metrics), Identify(keys), Admit(server.max_in_flight)
    metrics.watch(lambda: admit.in_flight, lambda: schedule.waiting)
    mirror = Mirror(notes, metrics, admit)
    rules = Rules(policies, ledger)
    authorise, rescue = Authorise(releases, rules, look), Rescue(notes, metrics)
    sample = layers_of_sample(
        record=record, authorise=authorise, limit=limit, admit=admit, schedule=schedule, rescue=rescue, cost=cost
    )
    order = partial(
        layers,
        record=record,
        authorise=authorise,
        terms=terms,
        once=Once(idempotency, texts, notes.find),
        think=Think(fold(sample, router), limit, choices, pool.is_remote),
        limit=limit,
        admit=admit,
        mirror=mirror,
        schedule=schedule,
        rescue=rescue,
        cost=cost,
    )
    tokens = fold(around(order(identify=identify)), router)
    feedback = Feedback(notes, ledger, bodies, lookup)
    routes: Routes = {
        **_other_forms(tokens),
        **_services(record, identify, admit, rules, feedback, listing(releases), search, detectors),
        ("GET", "/healthz"): ("health", alive),
        ("GET", "/readyz"): ("health", readiness(engines, admit, rules.in_force)),
        ("GET", "/metrics"): ("metrics", figures(engines, metrics, together)),
    }
    standing_in, added = fold(around(order(identify=StandIn(keys))), router), None
    if parts:
        most = parts.settings.background_concurrency
        background = Background(parts.objects, texts, standing_in, notes.find, home=parts.home, concurrency=most)
        added = platform(parts, releases, answerer(standing_in), lambda: admit.in_flight, background)
        responses = Responses(parts.objects, texts, worker(parts.server, "response", background), parts.home)
        asked = fold(around(with_later(order(identify=identify))), router)
        routes |= remembered(responses, asked, [border, identify, admit])
        routes |= {
            place: (endpoint, fold([border, identify, Service(rules, ACTIONS[endpoint]), admit], handle))
            for place, (endpoint, handle) in added.routes.items()
        }
    routes["GET", "/openapi.json"] = ("openapi", fold([border], describing(lambda: face.served)))
    max_body = int(server.max_body_mb * 1e6)
    plain = None
    # Layers that are not in the list have no place in its short form, nor has what tells figures with answers.
    if look is None and around is list and cost is None:
        plans = Plans(keys, releases, rules, terms, limit, schedule, router)
        plain = Plain(plans, pool, record, limit, admit, schedule, router, max_body=max_body)
    face = Face(tokens, routes, max_body=max_body, at_once=plain)
    return Gateway(
        app=face,
        handle=tokens,
        answer=answerer(tokens),
        admit=admit,
        mirror=mirror,
        limit=limit,
        schedule=schedule,
        figures=lambda: metrics.text(engines()),
        platform=added,
    )
