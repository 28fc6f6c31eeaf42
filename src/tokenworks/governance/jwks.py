"""The keys of an identity provider, kept: asked for again when old, when one is unknown, and never too often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from tokenworks.core.clock import Clock
from tokenworks.governance.principal import KeyRefusedError
from tokenworks.governance.provider import ProviderDownError

if TYPE_CHECKING:
    from jwt import PyJWK

RETRY_S = 1.0  # the least time between two tries while nothing is known
UNKNOWN_S = 10.0  # between two tries because of keys that nobody has heard of
log = structlog.get_logger()


class Jwks:
    """Believed for `fresh_s`; asked for in the background after that, and kept up to `kept_s` while nobody answers."""

    def __init__(
        self, fetch: Callable[[], Mapping[str, PyJWK]], *, clock: Clock, fresh_s: float, kept_s: float
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._fresh_s = fresh_s
        self._kept_s = kept_s
        self._keys: Mapping[str, PyJWK] = {}
        self._read_s = self._tried_s = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._why = "it was not asked yet"

    async def key(self, kid: str) -> PyJWK:
        """Return the key called `kid`, or the only one where a token names none.

        Raises `KeyRefusedError` where it is not published, `ProviderDownError` where nobody can say.
        """
        now_s = self._clock.monotonic()
        age_s = now_s - self._read_s
        if age_s >= self._kept_s:
            self._keys = {}
        found = self._named(kid)
        if found is not None:
            if age_s >= self._fresh_s and now_s - self._tried_s >= UNKNOWN_S:
                self._begin()  # in the background: the old key answers meanwhile
            return found
        wait_s = UNKNOWN_S if self._keys else RETRY_S
        await self._renew(wait_s, lambda: self._named(kid) is not None)
        if not self._keys or self._read_s < self._tried_s:
            raise ProviderDownError(self._why)
        found = self._named(kid)
        if found is None:
            raise KeyRefusedError("this token is signed with a key that the identity provider does not publish")
        return found

    async def renewed(self, kid: str, key: PyJWK) -> PyJWK:
        """Return the key in the place of `key`, which did not fit, where the provider has changed it meanwhile."""
        await self._renew(UNKNOWN_S, lambda: self._named(kid) not in (None, key))
        return self._named(kid) or key

    async def _renew(self, wait_s: float, enough: Callable[[], bool]) -> None:
        """Wait for the attempt under way; where that was not enough, make another unless the last was too recent."""
        if self._fetching is not None:
            await asyncio.shield(self._fetching)
        if not enough() and self._clock.monotonic() - self._tried_s >= wait_s:
            await asyncio.shield(self._begin())

    def _named(self, kid: str) -> PyJWK | None:
        # OpenID Connect Core 1.0, section 10.1: only where there is but one key may a token leave its id out.
        return next(iter(self._keys.values())) if not kid and len(self._keys) == 1 else self._keys.get(kid)

    def _begin(self) -> asyncio.Task[None]:
        """Return the one attempt that is under way."""
        if self._fetching is None:
            self._tried_s = self._clock.monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._refresh())
        return self._fetching

    async def _refresh(self) -> None:
        try:
            self._keys = await asyncio.to_thread(self._fetch)
            self._read_s = self._clock.monotonic()
        except ProviderDownError as error:
            self._why = str(error)
            log.warning("identity provider", error=str(error))
        finally:
            self._fetching = None
