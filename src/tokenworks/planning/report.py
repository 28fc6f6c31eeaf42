"""The plan as a table of text and as plain data."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tokenworks.planning.advice import Advice, advise
from tokenworks.planning.option import Option, Volume
from tokenworks.planning.options import Inputs, hosted_usd, options
from tokenworks.planning.workload import Targets

KEPT = (
    "machine",
    "devices",
    "p95 TTFT",
    "p95 TPOT",
    "USD/month",
    "USD/M tokens",
    "J/token",
    "kg CO2e",
    "even at",
    "months",
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a plan says."""

    model: str
    volume: Volume
    busiest_hour_requests: int
    burstiness: float
    targets: Targets
    hosted_usd_month: float
    options: tuple[Option, ...]
    advice: Advice


def plan(given: Inputs) -> Plan:
    """Return the plan for what was given."""
    found = options(given)
    return Plan(
        model=given.workload.model_config or given.workload.model,
        volume=given.volume,
        busiest_hour_requests=len(given.trace),
        burstiness=given.trace.burstiness,
        targets=given.workload.targets,
        hosted_usd_month=hosted_usd(given),
        options=tuple(found),
        advice=advise(given, found),
    )


def lines(made: Plan) -> list[str]:
    """Return the plan as lines of text."""
    volume, targets = made.volume, made.targets
    out = [
        f"{made.model}: {volume.requests:,.0f} requests a month, "
        f"{volume.prompt_tokens / 1e6:,.0f} M prompt + {volume.answer_tokens / 1e6:,.0f} M answer tokens",
        f"targets  p95 TTFT {targets.ttft_p95_s:g} s, p95 TPOT {targets.tpot_p95_s * 1e3:g} ms"
        + (f", p95 latency {targets.latency_p95_s:g} s" if targets.latency_p95_s else "")
        + f"; {made.busiest_hour_requests} requests in the busiest window, CV of gaps {made.burstiness:.1f}",
        "",
    ]
    head = ("option", *KEPT)
    rows = [head, *[(one.kind, *_cells(one)) for one in made.options]]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    out += ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    out += ["", *(f"{one.kind}: {one.note}" for one in made.options if one.note)]
    errors = sorted({one.calibration for one in made.options if one.calibration})
    out += [f"predicted by {', '.join(errors)}; the band is that of USD/month"] if errors else []
    return [*out, "", *made.advice.lines]


def _cells(one: Option) -> Sequence[str]:
    band = f" ({one.usd_low:,.0f} - {one.usd_high:,.0f})" if one.usd_low != one.usd_high else ""
    return (
        one.machine or "-",
        f"{one.copies} x {one.devices_per_copy}" if one.copies else "-",
        f"{one.ttft_p95_s:.2f} s" if one.ttft_p95_s is not None else "-",
        f"{one.tpot_p95_s * 1e3:.0f} ms" if one.tpot_p95_s is not None else "-",
        f"{one.usd_month:,.0f}{band}" if one.usd_month is not None else "-",
        f"{one.usd_per_million:.3f}" if one.usd_per_million is not None else "-",
        f"{one.joules_per_token:.3g}" if one.joules_per_token is not None else "-",
        f"{one.co2_kg_month:,.0f}" if one.co2_kg_month is not None else "-",
        f"{one.break_even_utilisation:.0%}" if one.break_even_utilisation is not None else "-",
        f"{one.break_even_months:.1f}" if one.break_even_months is not None else "-",
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if place < 2 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
