"""Servers elsewhere whose energy is metered: which the settings name, and where their meter and our gateways meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tokenworks.core.errors import ConfigError
from tokenworks.metering.attribution.coarse.account import FarAccount
from tokenworks.metering.attribution.coarse.counters import check_url
from tokenworks.metering.opening import NONE
from tokenworks.settings import MeterSettings, Settings

ALIAS = "remote"  # what the server of `engines.remote_url` is called


@dataclass(frozen=True)
class Server:
    """One metrics page and the meter of its host. Several names of one server share them."""

    names: tuple[str, ...]
    metrics_url: str
    meter: MeterSettings
    where: str  # in the settings

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return "+".join(self.names)


def metered_servers(settings: Settings) -> list[Server]:
    """Return them; raise `ConfigError` for what is wrong with what the settings say of their meters."""
    engines = settings.engines
    found: dict[str, Server] = {}
    told = [(one.name, f"engines.remotes {one.name!r}", one.metrics_url, one.meter) for one in engines.remotes]
    if engines.remote_url or engines.remote_metrics_url:
        told.append((ALIAS, "engines.remote", engines.remote_metrics_url, engines.remote_meter))
    for name, where, url, meter in told:
        if not url:
            if meter.source != NONE:
                raise ConfigError(f"{where}: a meter needs metrics_url: whose its joules were is told by that page")
            continue
        if meter.source == NONE:
            raise ConfigError(f"{where}: metrics_url needs the meter of that host: set its source, {NONE!r} now")
        before = found.get(check_url(url, f"{where}: metrics_url"))
        if before is not None and before.meter != meter:
            raise ConfigError(f"{where} and {before.where} have the same metrics_url and different meters")
        names = (*before.names, name) if before is not None else (name,)
        found[url] = Server(names, url, meter, where)
    return list(found.values())


def far_folder(meters: Path, server: Server) -> Path:
    """Return where the meter of a server and our gateways meet."""
    return meters / "far" / quote(server.names[0], safe="")


def far_accounts(settings: Settings, meters: Path) -> dict[str, FarAccount]:
    """Return an account of this process for each metered server, under every name that it has."""
    found: dict[str, FarAccount] = {}
    for server in metered_servers(settings):
        account = FarAccount(far_folder(meters, server))
        found |= dict.fromkeys(server.names, account)
    return found
