"""What is released now, as a view that is at most a moment old: the catalog is not asked on every request."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.core.model import ModelVersion, Release

FRESH_S = 0.5


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway must know of a model version that may answer."""

    ref: str  # name@version
    label: str
    kind: str
    accepts: str = "restricted"  # the highest label of text that may go to it: lower for a server elsewhere
    owner: str = ""
    created_at: float = 0.0


class Releases(Protocol):
    """Names to model versions."""

    async def current(self, alias: str) -> Served | None:
        """Return what answers for `alias` now."""
        ...

    async def version(self, ref: str) -> Served | None:
        """Return the version `name@version`, released or not."""
        ...

    async def all(self) -> dict[str, Served]:
        """Return every alias that something answers for."""
        ...


class ReleaseRows(Protocol):
    """The part of the catalog that knows releases."""

    def all_current(self) -> list[Release]:
        """Return the release in force of each alias."""
        ...


class ModelRows(Protocol):
    """The part of the catalog that knows model versions."""

    def find(self, ref: str) -> ModelVersion:
        """Return the version; raise `NotFoundError`."""
        ...


class CatalogReleases:
    """The catalog's releases, read again in a thread when they are older than `fresh_s`.

    A release made by this process is seen at once after `forget()`.
    """

    def __init__(self, releases: ReleaseRows, models: ModelRows, *, fresh_s: float = FRESH_S) -> None:
        self._releases = releases
        self._models = models
        self._fresh_s = fresh_s
        self._read_s = float("-inf")
        self._aliases: dict[str, Served] = {}
        self._versions: dict[str, Served] = {}  # a version never changes: kept for good
        self._lock = asyncio.Lock()

    async def current(self, alias: str) -> Served | None:
        """Return what answers for `alias` now."""
        return (await self.all()).get(alias)

    async def version(self, ref: str) -> Served | None:
        """Return the version `name@version`, released or not."""
        if ref not in self._versions:
            await asyncio.to_thread(self._learn, ref)
        return self._versions.get(ref)

    async def all(self) -> dict[str, Served]:
        """Return every alias that something answers for."""
        if time.monotonic() - self._read_s > self._fresh_s:
            async with self._lock:
                if time.monotonic() - self._read_s > self._fresh_s:
                    self._aliases = await asyncio.to_thread(self._read)
                    self._read_s = time.monotonic()
        return self._aliases

    def forget(self) -> None:
        """Read the catalog again at the next question."""
        self._read_s = float("-inf")

    @property
    def refs(self) -> frozenset[str]:
        """The versions that were released when the catalog was last read."""
        return frozenset(served.ref for served in self._aliases.values())

    def _read(self) -> dict[str, Served]:
        current = [release for release in self._releases.all_current() if release.version > 0]
        for release in current:
            self._learn(f"{release.model}@{release.version}")
        return {release.alias: self._versions[f"{release.model}@{release.version}"] for release in current}

    def _learn(self, ref: str) -> None:
        if ref in self._versions:
            return
        try:
            known = self._models.find(ref)
        except NotFoundError:
            return
        self._versions[ref] = Served(
            ref=known.ref, label=known.label, kind=known.kind, owner=known.owner, created_at=known.created_at
        )
