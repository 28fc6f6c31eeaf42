"""The Software Carbon Intensity of a month, from the records that its statement is made of.

SCI = ((E * I) + M) per R, with M = TE * (TiR/EL) * (RR/ToR): ISO/IEC 21031:2024, specification 1.1. E has what is
reserved and idle and the building's share; I is location-based; nothing is offset. SCI for AI (2026-01) reports two
personas: the consumer, who is answered, and the provider, who makes models. Both come from here and share nothing:
what was drawn and worn while a model was made is the provider's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.ledger.entries import AnyEntry, RequestEntry, StageEntry
from tokenworks.metering.carbon.intensity import TABLE, Average, average, read_signal
from tokenworks.metering.money.costs_file import Node, Sheet
from tokenworks.metering.money.machines import busy_by_hour
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.node import HOUR_S, YEAR_H, hours_of, power_kw
from tokenworks.metering.money.sums import TRIAL, Key, Sums

G_PER_KG = 1000.0
Grams = Callable[[float], "float | None"]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What else of the ledger carbon is counted per."""

    workflows: int = 0  # conversations, and requests that belong to none
    making_s: float = 0.0  # seconds of the line's stages, data and evaluation included, cache hits left out
    models: int = 0  # versions that were registered
    parameters: int = 0  # of those


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """Energy, operational and embodied carbon of one persona, and SCI figures: grams per functional unit."""

    energy_kwh: float
    operational_g: float
    embodied_g: float
    per: dict[str, float] = {}  # functional unit -> g CO2e

    @property
    def total_g(self) -> float:
        """Both kinds together."""
        return self.operational_g + self.embodied_g


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """A month's carbon."""

    month: str
    zone: str
    g_per_kwh: float  # mean over what was drawn
    source: str  # of the intensity
    hours_unknown: int  # hours that the signal does not cover: counted with the zone's average
    consumer: Persona
    provider: Persona


def footprint(sheet: Sheet, table: Mapping[Key, Sums], work: Work, month: Month, *, until: float) -> Footprint:
    """Return the carbon of a month until `until`; raise `ConfigError` where the costs file lacks nodes or a zone."""
    if not sheet.file.nodes:
        raise ConfigError(f"{sheet.where}: carbon needs [[nodes]] with idle_kw and busy_kw")
    base, grams = intensity_of(sheet)
    drawn = _drawn(sheet, table, month, min(month.end, until), base, grams)
    mean = drawn.operational_g / drawn.energy_kwh if drawn.energy_kwh else base.g_per_kwh
    provider = _provider(sheet.file.nodes[0], work, mean)
    floor_kwh = _making_kwh(sheet.file.nodes[0], work, utilisation=0.0)
    consumed_kwh = max(0.0, drawn.energy_kwh - floor_kwh)
    consumer = Persona(
        energy_kwh=consumed_kwh,
        operational_g=consumed_kwh * mean,
        embodied_g=max(0.0, drawn.embodied_g - provider.embodied_g),
    )
    return Footprint(
        month=month.name,
        zone=base.zone,
        g_per_kwh=mean,
        source=f"{base.source}, {base.as_of}" if grams is None else f"signal {sheet.file.carbon.signal}",
        hours_unknown=drawn.hours_unknown,
        consumer=msgspec.structs.replace(consumer, per=_per_answer(consumer.total_g, table, work)),
        provider=provider,
    )


def intensity_of(sheet: Sheet) -> tuple[Average, Grams | None]:
    """Return the zone's average, and the signal where the costs file says that figures go by it."""
    carbon = sheet.file.carbon
    if not carbon.zone:
        raise ConfigError(f'{sheet.where}: nobody says where the electricity comes from; add [carbon] zone = "DE"')
    base = average(carbon.zone, sheet.folder / carbon.table if carbon.table else TABLE)
    if carbon.figures == "average":
        return base, None
    if not carbon.signal:
        raise ConfigError(f'{sheet.where}: [carbon] figures = "signal", and no signal is named')
    return base, read_signal(sheet.folder / carbon.signal).at


class _Drawn(NamedTuple):
    """What the machines drew and wore for requests and for nobody."""

    energy_kwh: float
    operational_g: float
    embodied_g: float
    hours_unknown: int


def _drawn(
    sheet: Sheet, table: Mapping[Key, Sums], month: Month, end: float, base: Average, grams: Grams | None
) -> _Drawn:
    busy = busy_by_hour(sheet, table, month, end)
    energy, operational, embodied, unknown = 0.0, 0.0, 0.0, 0
    for node in sheet.file.nodes:
        for at in hours_of(node, month.begin, end):
            part = min(HOUR_S, end - at) / HOUR_S
            kwh = float(power_kw(node, busy.get(int(at // HOUR_S), 0.0))) * node.pue * part
            value = base.g_per_kwh if grams is None else grams(at)
            unknown += value is None
            energy += kwh
            operational += kwh * (base.g_per_kwh if value is None else value)
            embodied += _embodied_g(node, part * HOUR_S)
    return _Drawn(energy, operational, embodied, unknown)


def _provider(node: Node, work: Work, g_per_kwh: float) -> Persona:
    """Return what making models took: the whole machine, busy, for as long as its stages ran."""
    energy = _making_kwh(node, work, utilisation=1.0)
    made = Persona(energy_kwh=energy, operational_g=energy * g_per_kwh, embodied_g=_embodied_g(node, work.making_s))
    units = {"model": work.models, "million parameters": work.parameters / 1e6}
    return msgspec.structs.replace(made, per={unit: made.total_g / count for unit, count in units.items() if count})


def _per_answer(total_g: float, table: Mapping[Key, Sums], work: Work) -> dict[str, float]:
    """Return the grams for each request, million tokens and workflow that somebody was answered."""
    seen = [sums for key, sums in table.items() if key.face != TRIAL]
    tokens = sum(sums.input_tokens + sums.output_tokens for sums in seen)
    units = {
        "request": sum(sums.answered for sums in seen),
        "million tokens": tokens / 1e6,
        "workflow": work.workflows,
    }
    return {unit: total_g / count for unit, count in units.items() if count}


def _making_kwh(node: Node, work: Work, *, utilisation: float) -> float:
    return float(power_kw(node, utilisation)) * node.pue * work.making_s / HOUR_S


def _embodied_g(node: Node, seconds: float) -> float:
    return node.embodied_kg * G_PER_KG * seconds / (node.life_years * YEAR_H * HOUR_S)


def work_of(entries: Iterable[AnyEntry], month: Month, *, models: int = 0, parameters: int = 0) -> Work:
    """Return what the log says of a month besides its sums."""
    conversations: set[tuple[str, str]] = set()
    alone, seconds = 0, 0.0
    for entry in entries:
        if not month.begin <= entry.at < month.end:
            continue
        if isinstance(entry, StageEntry):
            seconds += 0.0 if entry.hit else entry.seconds
        elif isinstance(entry, RequestEntry) and entry.outcome == "ok" and entry.arm != "shadow":
            if entry.conversation:
                conversations.add((entry.tenant, entry.conversation))
            else:
                alone += 1
    return Work(workflows=alone + len(conversations), making_s=seconds, models=models, parameters=parameters)


def footprint_lines(found: Footprint) -> list[str]:
    """Return the figures on one screen."""
    lines = [f"Carbon {found.month}: {found.g_per_kwh:.1f} g/kWh in {found.zone} ({found.source})"]
    if found.hours_unknown:
        lines.append(f"  {found.hours_unknown} hours that the signal does not cover count with the zone's average")
    for name, one in (("consumer", found.consumer), ("provider", found.provider)):
        lines.append(
            f"{name}  {one.total_g / G_PER_KG:.3f} kg = operational {one.operational_g / G_PER_KG:.3f} "
            f"+ embodied {one.embodied_g / G_PER_KG:.3f} kg CO2e, {one.energy_kwh:.3f} kWh"
        )
        lines += [f"  SCI {grams:.6g} g per {unit}" for unit, grams in one.per.items()]
    return lines
