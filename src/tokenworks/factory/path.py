"""The request path put together: keys, releases, engines, ledger, and the stack of layers over them."""

from __future__ import annotations

from dataclasses import dataclass

from tokenworks.core.label import Label
from tokenworks.factory.checking import detectors, looking
from tokenworks.factory.costing import costing
from tokenworks.factory.engines import pool_of
from tokenworks.factory.house import House
from tokenworks.factory.identity import identities_of
from tokenworks.factory.limiting import limiting
from tokenworks.factory.metering import meter_folder
from tokenworks.factory.needing import Needed
from tokenworks.factory.recording import records_of, streams_under_way
from tokenworks.factory.remote import REF, Elsewhere, elsewhere
from tokenworks.factory.telemetry import Telemetry, telemetry
from tokenworks.gateway.app import Gateway, build
from tokenworks.gateway.health import Together
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.layers.terms import Terms
from tokenworks.gateway.limits.book import Book
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.releases import CatalogReleases, Releases
from tokenworks.gateway.search import Search
from tokenworks.gateway.thinking.choices import CatalogChoices
from tokenworks.gateway.warm import Warm
from tokenworks.governance.keys import SCOPES, Keys, Principal
from tokenworks.governance.policy.folder import InForce
from tokenworks.ledger.inflight import Inflight
from tokenworks.ledger.signing import ensure_ledger_key
from tokenworks.serving.followed import Reach
from tokenworks.serving.pool import OpenModel, Pool
from tokenworks.settings import Settings


@dataclass(frozen=True)
class RequestPath:
    """What answers requests in this process. Belongs to one event loop."""

    gateway: Gateway
    pool: Pool
    keys: Keys
    releases: CatalogReleases
    warm: Warm
    telemetry: Telemetry
    far: Elsewhere
    inflight: Inflight

    async def close(self) -> None:
        """Take no more requests, and end the engines."""
        self.gateway.drain()
        if self.gateway.platform is not None:
            await self.gateway.platform.close()
        await self.gateway.mirror.close()
        await self.warm.close()
        await self.pool.close()
        self.far.close()
        await self.gateway.limit.close()
        await self.telemetry.close()
        self.inflight.close()


def house_principal(name: str) -> Principal:
    """Return the factory itself as a caller: it may ask for every version with every label."""
    return Principal(key_id=name, tenant="house", scopes=frozenset(SCOPES), clearance=Label.RESTRICTED)


def home_of(house: House) -> str:
    """Return the name of this home: that of its ledger's key, which no other has."""
    return ensure_ledger_key(house.home / "keys").name


def platform_parts(house: House) -> Parts:
    """Return what the platform works with in this house; whom it tells is said by who runs it."""
    return Parts(
        house.catalog.objects,
        house.artifacts,
        house.home / "work" / "uploads",
        home=home_of(house),
        needed=Needed(house.catalog, house.artifacts),
        settings=house.settings.platform,
        clock=house.clock,
    )


def request_path(
    house: House,
    *,
    open_model: OpenModel,
    releases: Releases | None = None,
    search: Search | None = None,
    keep_bodies: bool,
    platform: Parts | None = None,
    book: Book | None = None,
    reach: Reach | None = None,
    together: Together | None = None,
) -> RequestPath:
    """Return the path over the parts of `house`; call it on the loop that will serve.

    With `book`, limits are counted together with all who count there; with `reach`, engines are another process's.
    """
    settings = house.settings
    current = CatalogReleases(house.catalog.releases, house.catalog.models)
    pool = pool_of(house, open_model, lambda: current.refs | warm.refs, reach)
    far, warm, keys = elsewhere(settings, pool, meter_folder(house.home)), Warm(current, pool.ready), house.new_keys()
    inflight = streams_under_way(house)  # before limits are read: what it settles counts
    limit, traces = limiting(house, book), telemetry(settings.telemetry)
    idempotency = house.idempotency if platform else None  # only a server is asked from outside
    parts = GatewayParts(
        keys=identities_of(house, keys),
        limit=limit,
        releases=far.beside(releases or warm),
        pool=pool,
        records=records_of(house, inflight, keep_bodies=keep_bodies, idempotency=idempotency),
        server=settings.server,
        policies=InForce(house.home / "policies"),
        look=looking(settings.policy.detect),
        terms=Terms(settings.admission.deadline_s, settings.admission.deadlines_s),
        schedule=schedule_of(settings),
        router=far.router,
        cost=costing(settings),
        choices=CatalogChoices(house.catalog.objects),
        around=traces.around,
        search=search,
        detectors=detectors(),
        platform=platform,
        engines=lambda: {**warm.status(), **pool.status()},
        together=together,
    )
    return RequestPath(build(parts), pool, keys, current, warm, traces, far, inflight)


def schedule_of(settings: Settings) -> Schedule:
    """Return whose turn it is at each engine: as many at once as it takes, elsewhere as many as come."""
    slots = settings.admission.slots
    return Schedule(
        lambda ref: slots or (0 if ref == REF else settings.engines.max_batch),
        most_waiting=max(1, settings.server.max_in_flight // 2),
    )
