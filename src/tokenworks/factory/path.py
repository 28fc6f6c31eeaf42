"""The request path put together: keys, releases, engines, ledger, and the stack of layers over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenworks.core.label import Label
from tokenworks.core.model import ModelVersion
from tokenworks.factory.checking import detectors, looking
from tokenworks.factory.costing import costing
from tokenworks.factory.house import House
from tokenworks.factory.identity import identities_of
from tokenworks.factory.limiting import limiting
from tokenworks.factory.metering import engine_pages
from tokenworks.factory.remote import REF, Elsewhere, elsewhere
from tokenworks.factory.telemetry import Telemetry, engine_environment, engine_traces, telemetry
from tokenworks.gateway.app import Gateway, build
from tokenworks.gateway.health import Together
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.layers.terms import Terms
from tokenworks.gateway.limits.book import Book
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.records import Records
from tokenworks.gateway.releases import CatalogReleases, Releases
from tokenworks.gateway.search import Search
from tokenworks.gateway.thinking.choices import CatalogChoices
from tokenworks.gateway.warm import Warm
from tokenworks.governance.keys import SCOPES, Keys, Principal
from tokenworks.governance.policy.folder import InForce
from tokenworks.governance.prices import Price
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.inflight import Inflight, Rates, settle_killed
from tokenworks.ledger.signing import ensure_ledger_key
from tokenworks.line.release.inspect import verify_folder
from tokenworks.serving.engine import Options
from tokenworks.serving.followed import Reach
from tokenworks.serving.pool import Pool
from tokenworks.serving.supervisor import Policy
from tokenworks.settings import Settings

OpenModel = Callable[[str], Path]


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


def open_verified(house: House) -> OpenModel:
    """Return how a model version is opened: a folder whose signature does not verify is not served."""

    def open_model(ref: str) -> Path:
        version: ModelVersion = house.catalog.models.find(ref)
        folder = house.artifacts.folder(version.folder)
        verify_folder(folder, house.key.public)
        return folder

    return open_model


def request_path(
    house: House,
    *,
    open_model: OpenModel,
    releases: Releases | None = None,
    search: Search | None = None,
    keep_bodies: bool,
    parts: Parts | None = None,
    book: Book | None = None,
    reach: Reach | None = None,
    together: Together | None = None,
) -> RequestPath:
    """Return the path over the parts of `house`; call it on the loop that will serve.

    With `book`, limits are counted together with all who count there; with `reach`, engines are another process's.
    """
    settings = house.settings
    current = CatalogReleases(house.catalog.releases, house.catalog.models)
    pool = Pool(
        open_model=open_model,
        released=lambda: current.refs | warm.refs,
        engine=settings.engines.generation if settings.engines.generation != "remote" else "auto",
        options=engine_options(settings, house.home),
        policy=Policy(
            start_timeout_s=settings.engines.start_timeout_s,
            give_up_after=settings.engines.give_up_after,
            longest_pause_s=settings.engines.restart_pause_s,
        ),
        reach=reach,
        replicas=settings.engines.replicas,
        environment=engine_environment(settings.telemetry),
    )
    far = elsewhere(settings, pool)
    warm = Warm(current, pool.ready)
    keys = house.new_keys()
    inflight = streams_under_way(house)
    limit = limiting(house, book)
    traces = telemetry(settings.telemetry)
    given = GatewayParts(
        keys=identities_of(house, keys),
        limit=limit,
        releases=far.beside(releases or warm),
        pool=pool,
        records=Records(
            ledger=house.ledger,
            bodies=house.bodies,
            keep_bodies=keep_bodies,
            lookup=house.lookup,
            idempotency=house.idempotency if parts else None,  # only a server is asked from outside
            inflight=inflight,
        ),
        search=search,
        detectors=detectors(),
        server=settings.server,
        platform=parts,
        policies=InForce(house.home / "policies"),
        look=looking(settings.policy.detect),
        terms=Terms(settings.admission.deadline_s, settings.admission.deadlines_s),
        schedule=Schedule(
            lambda ref: settings.admission.slots or (0 if ref == REF else settings.engines.max_batch),
            most_waiting=max(1, settings.server.max_in_flight // 2),
        ),
        engines=lambda: {**warm.status(), **pool.status()},
        around=traces.around,
        together=together,
        router=far.router,
        cost=costing(settings),
        choices=CatalogChoices(house.catalog.objects),
    )
    return RequestPath(build(given), pool, keys, current, warm, traces, far, inflight)


def streams_under_way(house: House) -> Inflight:
    """Write down what killed servers had delivered of their streams, and return where this one counts its own."""
    folder = house.home / "inflight"

    def known(entry: RequestEntry) -> bool:
        found = house.lookup.request(entry.request_id, entry.tenant)
        return found is not None and found.at == entry.at

    def charged(entry: RequestEntry, rates: Rates) -> RequestEntry:
        return Price(input_nano=rates[0], cached_nano=rates[1], output_nano=rates[2]).of(entry)

    settle_killed(folder, known, house.ledger.append, charged)
    return Inflight(folder, house.settings.server.max_in_flight)


def engine_options(settings: Settings, home: Path) -> Options:
    """Return how engines load models here."""
    engines = settings.engines
    otlp_endpoint, otlp_service = engine_traces(settings.telemetry)
    return Options(
        threads=engines.threads or settings.threads,
        precision=engines.precision,
        max_batch=engines.max_batch,
        cache=str(home / "cache" / "engines"),
        meter=engine_pages(settings, home),
        otlp_endpoint=otlp_endpoint,
        otlp_service=otlp_service,
    )
