"""What a gateway is built from. Who fills it in knows the house; the gateway itself knows no more than this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tokenworks.gateway.exchange import Layer
from tokenworks.gateway.health import Engines, Together
from tokenworks.gateway.layers.authorise import Look
from tokenworks.gateway.layers.cost import Cost
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.layers.terms import Terms
from tokenworks.gateway.moderations import Detectors
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.records import Records
from tokenworks.gateway.releases import Releases
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.search import Search
from tokenworks.gateway.thinking.choices import Choices
from tokenworks.governance.credentials import Identities
from tokenworks.governance.policy.folder import InForce
from tokenworks.serving.pool import Pool
from tokenworks.settings import ServerSettings


@dataclass(frozen=True, kw_only=True)
class GatewayParts:
    """The five that every gateway has, and what it may have besides; what is left out, it does without."""

    keys: Identities
    limit: Limit
    releases: Releases
    pool: Pool
    records: Records
    server: ServerSettings = field(default_factory=ServerSettings)

    policies: InForce | None = None  # by default the built-in ones
    look: Look | None = None  # raises labels by what stands in prompts
    terms: Terms = field(default_factory=Terms)
    schedule: Schedule = field(default_factory=Schedule)  # whose turn it is; by default nobody waits for an engine
    router: Router | None = None  # who answers; by default the pool
    cost: Cost | None = None  # tells what answers cost
    choices: Choices | None = None  # how each model thinks by default
    around: Callable[[Sequence[Layer]], Sequence[Layer]] = list  # may put layers of its own among the others: traces

    search: Search | None = None
    detectors: Detectors | None = None
    platform: Parts | None = None  # with it there are files, fine-tuning jobs, evals, batches and responses
    engines: Engines | None = None  # what to show of engines; by default those of the pool
    together: Together | None = None  # adds the figures of other processes
