"""What hosts ask and what the grid emits, from the dated table or from the workload."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from tokenworks.core.errors import ConfigError
from tokenworks.planning.tables import Tables
from tokenworks.planning.workload import Workload

OTHERS = "*"  # the row for models that no other is for


def hosted_price(workload: Workload, tables: Tables) -> tuple[float, float, float]:
    """Return USD per million prompt, cached prompt and answer tokens."""
    own, known = workload.hosted, _prices()["hosted"][priced_as(workload, tables)]
    price = known["input"] if own.input_usd is None else own.input_usd
    usual = known.get("cached", price) if own.input_usd is None else price  # a host's cache is not another's discount
    cached = usual if own.cached_usd is None else own.cached_usd
    return price, cached, known["output"] if own.output_usd is None else own.output_usd


def priced_as(workload: Workload, tables: Tables) -> str:
    """Return the row of the price table that stands for the model: its own, that of its shape, or `OTHERS`."""
    rows = sorted(_prices()["hosted"], key=len, reverse=True)
    names = [workload.model.rsplit("/", 1)[-1].lower()]
    if not workload.model_config:
        names.append(tables.called(workload.model))
    return next((row for name in names for row in rows if row != OTHERS and name.startswith(row)), OTHERS)


def price_note(workload: Workload, tables: Tables) -> str:
    """Return whose price it is, where the workload leaves that to the table."""
    if workload.hosted.input_usd is not None and workload.hosted.output_usd is not None:
        return "at the workload's prices"
    row = priced_as(workload, tables)
    if row == OTHERS:
        return f"no host of {workload.model} is in the table: at the prices of a mid-size closed model"
    return f"at the prices of {row}"


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
