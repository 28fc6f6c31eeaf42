"""A server elsewhere beside our own releases, as `remote`. Nothing goes there unless an operator said so."""

from __future__ import annotations

from tokenworks.core.destination import Destination
from tokenworks.core.label import Label
from tokenworks.gateway.releases import Releases, Served
from tokenworks.serving.engine import Options
from tokenworks.settings import EngineSettings

ALIAS = "remote"
REF = "remote@0"
ELSEWHERE = "elsewhere"


def remote_options(settings: EngineSettings) -> Options:
    """Return where the other server is and with which key it is asked."""
    return Options(url=settings.remote_url, key=settings.remote_key)


def remote_destination(settings: EngineSettings) -> Destination:
    """Return the other server as policy and reports see it."""
    return Destination(name=ALIAS, region=settings.remote_region, clearance=str(Label.parse(settings.remote_label)))


class WithRemote:
    """Our own releases, and one alias for the server elsewhere, which sees text up to `remote_label` and no more."""

    def __init__(self, own: Releases, settings: EngineSettings) -> None:
        label = str(Label.parse(settings.remote_label))
        self._own = own
        self._served = Served(ref=REF, label=str(Label.PUBLIC), kind="chat", accepts=label, region=ELSEWHERE)

    async def current(self, alias: str) -> Served | None:
        """Return what answers for `alias` now."""
        return self._served if alias == ALIAS else await self._own.current(alias)

    async def version(self, ref: str) -> Served | None:
        """Return the version `name@version`."""
        return self._served if ref == REF else await self._own.version(ref)

    async def all(self) -> dict[str, Served]:
        """Return every alias that something answers for."""
        return {**await self._own.all(), ALIAS: self._served}
