"""A token bucket, and the sums of what is held: the arithmetic of limits in one process."""

from __future__ import annotations

MINUTE_S = 60.0


class Bucket:
    """A minute's worth of a rate, as full as it was at `at_s`."""

    __slots__ = ("at_s", "level")

    def __init__(self, level: float, at_s: float) -> None:
        self.level = level
        self.at_s = at_s

    def fill(self, limit: int, now: float) -> float:
        """Return what it holds now; where the limit was changed, at most its new size."""
        if now > self.at_s:
            self.level, self.at_s = self.level + (now - self.at_s) * limit / MINUTE_S, now
        if self.level > limit:
            self.level = float(limit)
        return self.level


def let_go(held: dict[str, int], name: str, amount: int) -> None:
    """Take `amount` off what is held under `name`; nothing stays of a name that holds nothing."""
    left = held.get(name, 0) - amount
    if left:
        held[name] = left
    else:
        held.pop(name, None)


def whole_in_s(limit: int, level: float) -> float:
    """Return when a bucket that holds `level` is full again."""
    return (limit - level) * MINUTE_S / limit if limit else MINUTE_S
