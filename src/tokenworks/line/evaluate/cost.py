"""What an answer costs. Engine-seconds today; joules and money are two more of the same shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tokenworks.line.evaluate.report import Item


class Cost(Protocol):
    """A way to count what an answer took."""

    @property
    def unit(self) -> str:
        """Name of the unit, for people."""
        ...

    def of(self, item: Item) -> float:
        """Return what the answer to `item` took."""
        ...


@dataclass(frozen=True)
class EngineSeconds:
    """Seconds from question to answer, failed answers included: they took the engine's time too."""

    unit: str = "engine-seconds"

    def of(self, item: Item) -> float:
        """Return the seconds of one answer."""
        return item.latency_s
