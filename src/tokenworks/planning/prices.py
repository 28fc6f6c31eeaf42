"""What hosts ask and what the grid emits, from the dated table or from the workload."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from tokenworks.core.errors import ConfigError
from tokenworks.planning.workload import Workload


def hosted_price(workload: Workload) -> tuple[float, float, float]:
    """Return USD per million prompt, cached prompt and answer tokens."""
    name = workload.model.rsplit("/", 1)[-1].lower()
    table = _prices()["hosted"]
    known = next(
        (one for start, one in sorted(table.items(), key=lambda one: -len(one[0])) if name.startswith(start)),
        table["*"],
    )
    own = workload.hosted
    price = known["input"] if own.input_usd is None else own.input_usd
    cached = known.get("cached", price) if own.cached_usd is None else own.cached_usd
    return price, cached, known["output"] if own.output_usd is None else own.output_usd


def grid(workload: Workload) -> float:
    """Return grams of CO2e per kWh."""
    if workload.grid_g_kwh is not None:
        return workload.grid_g_kwh
    table = _prices()["grid"]
    if workload.grid.lower() not in table:
        raise ConfigError(f"grid {workload.grid!r} is not known; give grid_g_kwh, or one of: {', '.join(table)}")
    return float(table[workload.grid.lower()])


def _prices() -> dict[str, Any]:
    text = (files("tokenworks.planning") / "tables" / "prices.toml").read_text()
    return tomllib.loads(text)
