"""The ways to have the tokens: this site, bought, rented, hosted, hybrid. Each sized, priced, with what it permits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.planning import money as costs
from tokenworks.planning.architecture import Architecture
from tokenworks.planning.calibration import Calibration, Point, calibrate
from tokenworks.planning.configs import read_config
from tokenworks.planning.machine import Machine
from tokenworks.planning.option import Option, Volume
from tokenworks.planning.prices import grid, hosted_price, price_note
from tokenworks.planning.sizing import Served, Sized, deployments, served, size, steady
from tokenworks.planning.step import Deployment
from tokenworks.planning.tables import Tables
from tokenworks.planning.trace import Trace
from tokenworks.planning.workload import Choice, Workload

TRIED = 4  # of the deployments that are cheapest in a steady state, so many are simulated


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that options are made of."""

    workload: Workload
    trace: Trace  # the busiest hour, at the pace of the month
    volume: Volume
    tables: Tables
    hosted_usd: tuple[float, float, float]  # prompts, cached prompts, answers, per million
    grid_g_kwh: float
    here: Served | None = None  # what was measured of this model on a machine of this site


def inputs(workload: Workload, trace: Trace, tables: Tables, here: Served | None = None) -> Inputs:
    """Return what options are made of, the trace brought to the month's pace."""
    tables = tables.over(workload.models, workload.machines)
    if not workload.requests_per_month and not trace.arrival_s[-1] > 0:
        raise DataError(
            f"the trace's {len(trace)} requests came at one moment, which tells no pace; "
            "give requests_per_month in the workload, or a trace of some minutes"
        )
    pace = len(trace) / trace.span_s * workload.active_hours * 3600
    requests = workload.requests_per_month or pace
    prompt, answer = trace.tokens
    each = requests / len(trace)
    return Inputs(
        workload=workload,
        trace=trace.faster(requests / pace).busiest(),
        volume=Volume(requests=requests, prompt_tokens=prompt * each, answer_tokens=answer * each),
        tables=tables,
        hosted_usd=hosted_price(workload, tables),
        grid_g_kwh=grid(workload),
        here=here,
    )


def options(given: Inputs) -> list[Option]:
    """Return every option, in the order of DESIGN: what is here, bought, rented, hosted, and a mixture by label."""
    bare = Deployment(
        model=_model(given), machine=_machine(given, given.workload.site.machine), precision=given.workload.precision
    )
    found = [site(given, bare), _best(given, bare, "bought"), _best(given, bare, "rented"), hosted(given)]
    local = [one for one in found[:2] if one.reaches_targets and one.usd_month is not None]
    return [*found, hybrid(given, bare, local)]


def hosted_usd(given: Inputs, share: float = 1.0) -> float:
    """Return what the hosted API asks for `share` of the month."""
    price, cached, answers = given.hosted_usd
    hits = given.workload.hosted.cached_share
    volume = given.volume.times(share)
    return (volume.prompt_tokens * ((1 - hits) * price + hits * cached) + volume.answer_tokens * answers) / 1e6


def site(given: Inputs, bare: Deployment) -> Option:
    """Return what the machines that are here would make of it."""
    plan = given.workload.site
    found = _sized(given, bare, plan.machine, Choice(machine=plan.machine, measured=plan.measured), owned=True)
    if found.devices > plan.count:
        return msgspec.structs.replace(
            found,
            reaches_targets=False,
            note=f"{found.devices} are needed, {plan.count} here; {found.note}".strip("; "),
        )
    return found


def hosted(given: Inputs) -> Option:
    """Return somebody's API."""
    usd = hosted_usd(given)
    permitted = given.workload.permitted(given.workload.hosted.clearance)
    return Option(
        kind="hosted API",
        reaches_targets=True,
        usd_month=usd,
        usd_low=usd,
        usd_high=usd,
        usd_per_million=usd / given.volume.tokens * 1e6,
        permitted_share=permitted,
        clearance=given.workload.hosted.clearance,
        note=f"{price_note(given.workload, given.tables)}; hosts say neither percentiles nor joules",
    )


def hybrid(given: Inputs, bare: Deployment, local: Sequence[Option]) -> Option:
    """Return the hosted API for what labels let go, and machines for the rest."""
    away = given.workload.permitted(given.workload.hosted.clearance)
    if away in (0.0, 1.0) or not local:
        why = "labels permit everything or nothing" if local else "no machines reach the targets"
        return Option(kind="hybrid", note=f"none: {why}", permitted_share=1.0)
    cheapest = min(local, key=lambda one: one.usd_month or 0.0)
    mine = replace(given, trace=given.trace.thinned(1 - away), volume=given.volume.times(1 - away))
    found = site(mine, bare) if cheapest.kind == "this site" else _best(mine, bare, cheapest.kind)
    if found.usd_month is None or found.usd_low is None or found.usd_high is None:
        return Option(kind="hybrid", note="none: no machines reach the targets")
    there = hosted_usd(given, away)
    return msgspec.structs.replace(
        found,
        kind="hybrid",
        usd_month=found.usd_month + there,
        usd_low=found.usd_low + there,
        usd_high=found.usd_high + there,
        usd_per_million=(found.usd_month + there) / given.volume.tokens * 1e6,
        joules_per_token=None,
        kwh_month=None,
        co2_kg_month=None,
        permitted_share=1.0,
        clearance="restricted",
        note=f"{away:.0%} hosted, {1 - away:.0%} {cheapest.kind}; energy of the hosted part is not known",
    )


def deployment_of(given: Inputs, one: Option) -> tuple[Deployment, float]:
    """Return what a copy of `one` stands on, and the factor by which predictions for it are multiplied."""
    bare = Deployment(model=_model(given), machine=_machine(given, one.machine), precision=one.precision)
    of = msgspec.structs.replace(bare, tensor=one.devices_per_copy)
    points = {"bought": given.workload.bought, "rented": given.workload.rented}
    measured = points[one.kind].measured if one.kind in points else given.workload.site.measured
    return of, calibration_of(of, measured).factor


def calibration_of(of: Deployment, measured: Point | None) -> Calibration:
    """Return what a measured point corrects, or the priors alone."""
    return calibrate(of, measured) if measured is not None else Calibration()


def _best(given: Inputs, bare: Deployment, kind: str) -> Option:
    """Return the cheapest machines that reach the targets, of those that have a price."""
    choice: Choice = getattr(given.workload, kind)
    named = [choice.machine] if choice.machine != "auto" else [
        name
        for name, machine in given.tables.machines.items()
        if (machine.price_usd if kind == "bought" else machine.rent_usd_h) is not None
    ]  # fmt: skip
    ranked = []
    for name in named:
        machine = _machine(given, name)
        for of in deployments(bare, machine, choice.devices):
            by = served(of, given.trace, calibration_of(of, choice.measured))
            if by is not None and (
                speed := steady(by.cost, given.trace, given.workload.targets, by.scheduler.cache_tokens)
            ):
                price = machine.price_usd if kind == "bought" else machine.rent_usd_h
                ranked.append((_need(given, speed) * of.devices * (price or 0.0), name, of.tensor))
    tried = [
        _sized(given, bare, name, msgspec.structs.replace(choice, devices=tensor), owned=kind == "bought", kind=kind)
        for _, name, tensor in sorted(ranked)[:TRIED]
    ]
    able = [one for one in tried if one.reaches_targets]
    if not able:
        return Option(kind=kind, note="no machine of the table reaches the targets" if not tried else tried[0].note)
    return min(able, key=lambda one: one.usd_month or 0.0)


def _need(given: Inputs, speed: float) -> float:
    """Return copies at `speed` answer tokens a second that the busiest hour keeps busy, at least one."""
    return max(given.trace.tokens[1] / given.trace.span_s / speed, 1.0)


def _sized(
    given: Inputs, bare: Deployment, name: str, choice: Choice, *, owned: bool, kind: str = "this site"
) -> Option:
    machine = _machine(given, name)
    permitted = given.workload.permitted(choice.clearance)
    for of in deployments(bare, machine, choice.devices):
        by = given.here if kind == "this site" else None
        by = by or served(of, given.trace, calibration_of(of, choice.measured))
        found = size(of, given.trace, given.workload.targets, by) if by is not None else None
        if by is not None and found is not None:
            return _priced(given, name, found, by, kind=kind, owned=owned, clearance=choice.clearance)
    return Option(
        kind=kind, machine=name, permitted_share=permitted, clearance=choice.clearance,
        note="the model does not fit, or even a request alone misses the targets",
    )  # fmt: skip


def _priced(given: Inputs, name: str, found: Sized, by: Served, *, kind: str, owned: bool, clearance: str) -> Option:
    workload, machine, volume = given.workload, found.deployment.machine, given.volume
    hours = costs.HOURS_MONTH if owned else workload.active_hours
    most = found.full_tokens_per_s * found.copies * hours * 3600
    use = min(volume.answer_tokens / most, 1.0) if most else 1.0
    running = _running(machine, found.devices, use, hours, workload, owned=owned)
    # A prediction that is off by so much needs so many copies more or less, never fewer than one.
    low, high = (running.usd * max(found.copies * (1 + sign * by.error), 1) / found.copies for sign in (-1, 1))
    hosted_month = hosted_usd(given)
    other = hosted_month / volume.answer_tokens * 1e6
    price = (machine.price_usd or 0.0) * found.devices + workload.money.setup_usd
    permitted = workload.permitted(clearance)
    return Option(
        kind=kind,
        machine=name,
        devices_per_copy=found.deployment.devices,
        copies=found.copies,
        devices=found.devices,
        precision=found.deployment.precision,
        reaches_targets=True,
        peak_utilisation=found.peak_utilisation,
        ttft_p95_s=found.ttft_p95_s,
        tpot_p95_s=found.tpot_p95_s,
        latency_p95_s=found.latency_p95_s,
        tokens_per_s_each=found.full_tokens_per_s / found.deployment.devices,
        utilisation=use,
        usd_month=running.usd,
        usd_low=low,
        usd_high=high,
        usd_per_million=running.usd / volume.tokens * 1e6,
        joules_per_token=running.kwh * 3.6e6 / volume.answer_tokens,
        kwh_month=running.kwh,
        co2_kg_month=running.kwh * given.grid_g_kwh / 1000 + running.embodied_kg,
        capital_usd=price if kind == "bought" else 0.0,
        break_even_utilisation=costs.break_even_utilisation(running.usd, most, other),
        break_even_months=costs.break_even_months(price, hosted_month, running.usd - running.capital_usd)
        if kind == "bought"
        else None,
        permitted_share=permitted,
        clearance=clearance,
        calibration=by.how,
    )


def _running(
    machine: Machine, devices: int, use: float, hours: float, workload: Workload, *, owned: bool
) -> costs.Running:
    if owned:
        return costs.bought(machine, devices, use, workload.money)
    return costs.rented(machine, devices, use, hours, workload.money)


def _model(given: Inputs) -> Architecture:
    if given.workload.model_config:
        return read_config(Path(given.workload.model_config))
    return given.tables.model(given.workload.model)


def _machine(given: Inputs, name: str) -> Machine:
    return given.tables.machine(name)
