"""What is asked of the plan: which model, how much, how fast, what may go where, what things cost. One TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.core.toml import read_toml
from tokenworks.planning.architecture import Architecture
from tokenworks.planning.calibration import Point
from tokenworks.planning.machine import Above, Amount, Machine

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
ROUNDED = 0.01  # by which shares that were written by hand may miss their sum


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """What 95 of 100 requests must see in the busiest hour."""

    ttft_p95_s: Above = 2.0
    tpot_p95_s: Above = 0.1
    latency_p95_s: Amount = 0.0  # 0: none


class SitePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The machines that are here already."""

    machine: str = "small-server"
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    measured: Point | None = None  # of this model on one of them


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Machines that could be had."""

    machine: str = "auto"  # the cheapest that reaches the targets
    devices: int = 0  # that share a model; 0: the cheapest number
    clearance: str = "restricted"  # the highest label that may go there
    measured: Point | None = None  # of this model on them: one calibration point


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's API for this model or one that would do, per million tokens. By default from the table of prices."""

    input_usd: Amount | None = None
    cached_usd: Amount | None = None
    output_usd: Amount | None = None
    cached_share: Share = 0.0  # of prompt tokens that the host has already
    clearance: str = "public"


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What running machines costs. Replace every figure by your own; `docs/planner.md` says where these are from."""

    tariff_usd_kwh: Amount = 0.15
    pue: Annotated[float, msgspec.Meta(ge=1, le=100)] = 1.54
    life_years: Above = 4.0
    residual: Share = 0.1
    interest: Share = 0.06
    maintenance: Share = 0.05  # of the price, each year
    staff_usd_year: Amount = 60_000.0  # for each server of eight devices, or what stands in its place
    rented_staff: Share = 0.5  # of that, where the machines are rented
    setup_usd: Amount = 0.0


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """The whole question. Every field has a default; a trace alone is enough."""

    model: str = "llama-3.1-8b"
    model_config: str = ""  # a config.json in the place of a name
    precision: str = "auto"
    requests_per_month: Amount = 0.0  # 0: as many as the trace's pace makes of the active hours
    active_hours: Above = 730.5  # of a month, in which the requests come
    labels: dict[str, Share] = {}  # share of the requests by label; none: nothing is known of them
    targets: Targets = Targets()
    site: SitePlan = SitePlan()
    bought: Choice = Choice()
    rented: Choice = Choice(clearance="internal")
    hosted: Hosted = Hosted()
    money: Money = Money()
    grid: str = "world"
    grid_g_kwh: Amount | None = None  # in the place of the table's figure for `grid`
    models: dict[str, Architecture] = {}
    machines: dict[str, Machine] = {}

    def permitted(self, clearance: str) -> float:
        """Return the share of the requests whose label is not above `clearance`."""
        most = Label.parse(clearance)
        if not self.labels:
            return 1.0
        return sum(share for name, share in self.labels.items() if Label.parse(name) <= most) / sum(
            self.labels.values()
        )


def read_workload(path: Path | None) -> Workload:
    """Return the workload in `path`, or the default one; raise `ConfigError` at what cannot be meant."""
    found = read_toml(path, Workload) if path is not None else Workload()
    where = str(path or "workload")
    for name, label in [
        ("bought", found.bought.clearance),
        ("rented", found.rented.clearance),
        ("hosted", found.hosted.clearance),
    ]:
        try:
            Label.parse(label)
        except ConfigError as error:
            raise ConfigError(f"{where}: {name}.clearance: {error}") from None
    for label in found.labels:
        try:
            Label.parse(label)
        except ConfigError as error:
            raise ConfigError(f"{where}: labels: {error}") from None
    total = sum(found.labels.values())
    if found.labels and abs(total - 1) > ROUNDED:
        raise ConfigError(
            f"{where}: labels: the shares add up to {total:g}, not to 1; say of every request which label it has"
        )
    return found


def with_labels(workload: Workload, counts: dict[str, Any]) -> Workload:
    """Return `workload` with the shares of labels that were counted, unless it says its own."""
    total = sum(counts.values())
    if workload.labels or not total:
        return workload
    return msgspec.structs.replace(workload, labels={name: count / total for name, count in counts.items() if name})
