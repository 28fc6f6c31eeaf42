"""What may be spent on training, as people write it: time, operations or tokens."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from tokenworks.core.errors import ConfigError

_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(s|m|h|(?i:flops?|[kmbt]? ?tokens?))\s*")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MANY = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What pretraining may spend."""

    kind: Literal["seconds", "flops", "tokens"]
    amount: float


def parse_budget(text: str) -> Budget:
    """Return the budget in `text`: "90s", "3m", "1h", "2e15 flops" or "2M tokens"."""
    found = _BUDGET.fullmatch(text)
    if not found or float(found[1]) <= 0:
        raise ConfigError(f'budget {text!r} is not understood; write "90s", "3m", "2e15 flops" or "2M tokens"')
    amount, unit = float(found[1]), found[2].lower()
    if unit in _SECONDS:
        return Budget(kind="seconds", amount=amount * _SECONDS[unit])
    if unit.startswith("flop"):
        return Budget(kind="flops", amount=amount)
    return Budget(kind="tokens", amount=amount * _MANY[unit.removesuffix("s").removesuffix("token").strip()])
