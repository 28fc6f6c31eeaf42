"""What is released now, as a view that is at most a moment old: the catalog is not asked on every request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.core.model import ModelVersion, Release
from tokenworks.gateway.served import OnTrial, Served
from tokenworks.governance.renewing import Renewed

__all__ = ["CatalogReleases", "Releases", "Served"]

FRESH_S = 0.5


class Releases(Protocol):
    """Names to model versions."""

    async def current(self, alias: str) -> Served | None:
        """Return what answers for `alias` now."""
        ...

    async def version(self, ref: str) -> Served | None:
        """Return the version `name@version`, released or not."""
        ...

    def at_hand(self, alias: str) -> Served | None:
        """Return what answers for `alias` where that is known without asking; None says nothing about it."""
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
        self._current = Renewed(self._read, fresh_s=fresh_s)
        self._versions: dict[str, Served] = {}  # a version never changes: kept for good

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
        return await self._current.get()

    def at_hand(self, alias: str) -> Served | None:
        """Return what answers for `alias`, None while it has to be read: the same object until it changes."""
        aliases = self._current.at_hand()
        return None if aliases is None else aliases.get(alias)

    def forget(self) -> None:
        """Read the catalog again at the next question."""
        self._current.forget()

    @property
    def refs(self) -> frozenset[str]:
        """The versions that were released or on trial when the catalog was last read."""
        return refs_of(self._current.last or {})

    def _read(self) -> dict[str, Served]:
        current = [release for release in self._releases.all_current() if release.version > 0]
        for release in current:
            self._learn(f"{release.model}@{release.version}")
        return {release.alias: self._on(release) for release in current}

    def _on(self, release: Release) -> Served:
        """Return what answers by `release`, with what is on trial beside it."""
        incumbent = self._versions[f"{release.model}@{release.version}"]
        if not release.canary:
            return incumbent
        ref = f"{release.model}@{release.canary}"
        self._learn(ref)
        candidate = self._versions.get(ref)
        if candidate is None:
            return incumbent
        mode: Literal["canary", "shadow"] = "shadow" if release.mode == "shadow" else "canary"
        trial = OnTrial(id=release.id, candidate=candidate, share=release.share, mode=mode)
        return msgspec.structs.replace(incumbent, trial=trial)

    def _learn(self, ref: str) -> None:
        if ref in self._versions:
            return
        try:
            known = self._models.find(ref)
        except NotFoundError:
            return
        self._versions[ref] = Served(
            ref=known.ref,
            label=known.label,
            kind=known.kind,
            owner=known.owner,
            tenant=known.tenant,
            created_at=known.created_at,
        )


def refs_of(aliases: Mapping[str, Served]) -> frozenset[str]:
    """Return every version that `aliases` may ask."""
    tried = (served.trial.candidate.ref for served in aliases.values() if served.trial is not None)
    return frozenset((*(served.ref for served in aliases.values()), *tried))
