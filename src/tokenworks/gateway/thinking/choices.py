"""Which way of thinking a model has by default: what was measured for it, read from the catalog now and then."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import msgspec

from tokenworks.serving.thinking.measured import KIND, Measured
from tokenworks.store.objects import Objects

FRESH_S = 5.0


class Choices(Protocol):
    """Who knows."""

    async def of(self, model: str) -> Measured | None:
        """Return what was measured for the model of this name, None where nothing was."""
        ...


class Unmeasured:
    """Nobody has measured anything."""

    async def of(self, model: str) -> Measured | None:
        """Return nothing."""
        return None


class CatalogChoices:
    """The sweeps in the catalog. Asked only by requests that are thought about."""

    def __init__(self, objects: Objects, *, fresh_s: float = FRESH_S) -> None:
        self._objects = objects
        self._fresh_s = fresh_s
        self._known: dict[str, tuple[float, Measured | None]] = {}

    async def of(self, model: str) -> Measured | None:
        """Return what was measured, at most `fresh_s` old."""
        known = self._known.get(model)
        if known is None or time.monotonic() - known[0] > self._fresh_s:
            found = await asyncio.to_thread(self._objects.get, KIND, model)
            known = (time.monotonic(), None if found is None else msgspec.convert(found.body, Measured))
            self._known[model] = known
        return known[1]
