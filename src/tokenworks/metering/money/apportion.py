"""A whole number split by weights into whole numbers that add up to it again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def apportion(amount: int, weights: Mapping[K, int]) -> dict[K, int]:
    """Return `amount` split in proportion to `weights`, none of them negative and not all of them nothing.

    Largest remainders (Hamilton's method): each part is off by less than one, and together they are `amount`. Of
    equal remainders the first in order of the weights counts, so that the same question has the same answer.
    """
    whole = sum(weights.values())
    if whole <= 0 or min(weights.values()) < 0:
        raise ValueError("there is nothing to split by")
    sign, size = (1, amount) if amount >= 0 else (-1, -amount)
    parts = {name: size * weight // whole for name, weight in weights.items()}
    remainders = sorted(weights, key=lambda name: -(size * weights[name] % whole))  # stable
    for name in remainders[: size - sum(parts.values())]:
        parts[name] += 1
    return {name: sign * part for name, part in parts.items()}
