"""Servers elsewhere beside our own releases. Nothing goes there unless an operator wrote so into the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenworks.core.destination import HERE, Destination
from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label, highest
from tokenworks.factory.far_servers import ALIAS, far_accounts
from tokenworks.gateway.releases import Releases, Served
from tokenworks.gateway.route.finishing import Patience
from tokenworks.gateway.route.places import Ask, Place
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.route.routes import Route, routes_of
from tokenworks.metering.attribution.coarse.account import FarAccount
from tokenworks.serving.accounted import Accounted
from tokenworks.serving.engine import Options
from tokenworks.serving.far.server import Far, Site
from tokenworks.serving.pool import Pool
from tokenworks.settings import EngineSettings, RemoteSettings, RouteSettings, Settings, remote_key

REF = "remote@0"
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Elsewhere:
    """The router over one pool, and the connections to servers elsewhere."""

    router: Router
    routes: Mapping[str, Route]  # by alias
    fars: tuple[Far, ...]
    accounts: tuple[FarAccount, ...] = ()  # of those whose energy is metered

    def beside(self, own: Releases) -> Releases:
        """Return `own` with the aliases that only servers elsewhere answer for."""
        aliases = {alias: _served(alias, route) for alias, route in self.routes.items() if route.here_at < 0}
        return WithRemotes(own, aliases) if aliases else own

    def close(self) -> None:
        """Hang up everything."""
        for far in self.fars:
            far.close()
        for account in self.accounts:
            account.close()


def elsewhere(settings: Settings, pool: Pool, meters: Path) -> Elsewhere:
    """Return who else may be asked; raise `ConfigError` naming what is wrong with what the settings say of it.

    `meters` is the folder of who reads the meters of their hosts.
    """
    engines = settings.engines
    fars = {remote.name: Far(_site(remote)) for remote in engines.remotes}
    if len(fars) < len(engines.remotes):
        raise ConfigError(f"engines.remotes: two have the same name; names are {[one.name for one in engines.remotes]}")
    accounts = far_accounts(settings, meters)
    places = {
        remote.name: _place(remote, accounted(remote.name, fars[remote.name].generate, accounts))
        for remote in engines.remotes
    }
    orders = dict(settings.routes)
    if engines.remote_url:
        target = remote_destination(engines)
        ask = accounted(ALIAS, pool.generate, accounts)
        places[ALIAS] = Place(target, ask, first_byte_s=RemoteSettings(name="", url="").first_byte_s)
        orders.setdefault(ALIAS, RouteSettings(order=(ALIAS,)))
    routes = routes_of(orders, places)
    by_name = routes | {f"{alias}@0": route for alias, route in routes.items() if route.here_at < 0}
    if not 0 <= engines.hedge_percent <= 100:
        raise ConfigError(f"engines.hedge_percent is {engines.hedge_percent:g}; give 0 (never) to 100; 2 is usual")
    replicas = engines.replicas
    if replicas < 1:
        raise ConfigError(f"engines.replicas is {replicas}; give at least 1")
    patience = Patience(stall_s=engines.stall_s, resume_s=engines.resume_s)
    count = pool.count if replicas > 1 else None
    router = Router(pool.generate, count=count, routes=by_name, patience=patience, hedge_percent=engines.hedge_percent)
    return Elsewhere(router, routes, tuple(fars.values()), tuple(set(accounts.values())))


async def add_remote(pool: Pool, settings: EngineSettings) -> None:
    """Let the other server that the settings name, if they name one, answer in `pool`."""
    if settings.remote_url:
        await pool.add_remote(
            REF, remote_options(settings), model=settings.remote_model, destination=remote_destination(settings)
        )


def remote_options(settings: EngineSettings) -> Options:
    """Return where the other server is and with which key it is asked."""
    return Options(url=settings.remote_url, key=settings.remote_key)


def remote_destination(settings: EngineSettings) -> Destination:
    """Return the other server as policy and reports see it."""
    return Destination(name=ALIAS, region=settings.remote_region, clearance=str(Label.parse(settings.remote_label)))


def _site(remote: RemoteSettings) -> Site:
    return Site(
        name=remote.name,
        url=remote.url,
        shape=remote.shape,
        key=remote_key(remote),
        model=remote.model,
        region=remote.region,
        api_version=remote.api_version,
    )


def accounted(name: str, ask: Ask, accounts: Mapping[str, FarAccount]) -> Ask:
    """Return `ask` with an account of what it takes, where the energy of the server called `name` is metered."""
    return Accounted(name, ask, accounts[name]) if name in accounts else ask


def _place(remote: RemoteSettings, ask: Ask) -> Place:
    if remote.name in (HERE, ALIAS, ""):
        raise ConfigError(f"engines.remotes: {remote.name!r} cannot be a name; {HERE!r} and {ALIAS!r} have a meaning")
    if remote.region == HERE:
        raise ConfigError(f"engines.remotes {remote.name!r}: the region {HERE!r} is this site's own")
    if remote.first_byte_s <= 0:
        raise ConfigError(f"engines.remotes {remote.name!r}: first_byte_s is {remote.first_byte_s:g}; give more than 0")
    target = Destination(
        name=remote.name,
        region=remote.region,
        clearance=str(Label.parse(remote.label)),
        price_in=remote.price_in,
        price_out=remote.price_out,
    )
    return Place(target, ask, first_byte_s=remote.first_byte_s)


def _served(alias: str, route: Route) -> Served:
    """Return what answers for an alias that no engine here has: it may see what the highest cleared may see."""
    accepts = highest([Label.parse(place.destination.clearance) for place in route.far])
    return Served(ref=f"{alias}@0", label=str(Label.PUBLIC), kind="chat", accepts=str(accepts), region=ELSEWHERE)


class WithRemotes:
    """Our own releases, and aliases of servers elsewhere, which see text up to their clearance and no more."""

    def __init__(self, own: Releases, aliases: Mapping[str, Served]) -> None:
        self._own = own
        self._aliases = dict(aliases)
        self._versions = {served.ref: served for served in aliases.values()}

    async def current(self, alias: str) -> Served | None:
        """Return what answers for `alias` now."""
        return self._aliases.get(alias) or await self._own.current(alias)

    def at_hand(self, alias: str) -> Served | None:
        """Return what answers for `alias` where that is known."""
        return self._aliases.get(alias) or self._own.at_hand(alias)

    async def version(self, ref: str) -> Served | None:
        """Return the version `name@version`."""
        return self._versions.get(ref) or await self._own.version(ref)

    async def all(self) -> dict[str, Served]:
        """Return every alias that something answers for."""
        return {**await self._own.all(), **self._aliases}
