"""Clocks that tests set."""

from __future__ import annotations


class Hands:
    """A clock that stands where it is put; the time since whenever moves along."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at
