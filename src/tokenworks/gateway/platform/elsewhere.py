"""Who works on what was asked for in the background: this process, or another one that is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Tell = Callable[[str, str], None]  # (what, id); callable from any thread


class Runner(Protocol):
    """Who works in the background; callable from any thread."""

    def begin(self, id: str) -> None:
        """Run it in the background."""
        ...

    def end(self, id: str) -> None:
        """Look again whether it is still wanted."""
        ...


@dataclass(frozen=True)
class Elsewhere:
    """Tells another process, which works on it."""

    tell: Tell
    kind: str

    def begin(self, id: str) -> None:
        """Have it run."""
        self.tell(f"{self.kind}.begin", id)

    def end(self, id: str) -> None:
        """Have it looked at again."""
        self.tell(f"{self.kind}.end", id)


def worker(tell: Tell | None, kind: str, here: Runner) -> Runner:
    """Return who works on things of this kind."""
    return here if tell is None else Elsewhere(tell, kind)
