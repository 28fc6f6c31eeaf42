"""Earlier examples mixed into what is learnt now, against forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from tokenworks.core.errors import ConfigError

T = TypeVar("T")


def replayed(earlier: Sequence[T], new: int, *, share: float, seed: int) -> list[T]:
    """Return those of `earlier` that make up `share` beside `new` new examples: fewer where there are not so many.

    Which ones depends on `seed` alone. Raises `ConfigError` where `share` is no share.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"replay is {share}; it is a share from 0 to below 1")
    wanted = min(len(earlier), round(new * share / (1 - share)))
    order = np.random.default_rng((seed, 0x9E37)).permutation(len(earlier))
    return [earlier[place] for place in sorted(order[:wanted])]
