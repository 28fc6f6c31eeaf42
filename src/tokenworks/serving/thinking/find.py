"""Ways of thinking by name: the files of `serving/reasoning/`, and those of installed packages."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from tokenworks import parts
from tokenworks.serving.thinking.contract import ROOM, Plan, Strategy


def strategies() -> list[str]:
    """Return their names, as callers write them."""
    return [name.replace("_", "-") for name in parts.names(ROOM)]


def strategy_named(name: str, plan: Plan) -> Strategy:
    """Return the way called `name`; raise `ConfigError` naming those that there are."""
    return _made_by(name)(plan)


@lru_cache(maxsize=64)
def _made_by(name: str) -> Callable[[Plan], Strategy]:
    """Return the class. Looking through what is installed takes a tenth of a second: once is enough."""
    made: Callable[[Plan], Strategy] = parts.load(ROOM, name.replace("-", "_")).Strategy
    return made
