"""The Software Carbon Intensity of a month, from the records that its statement is made of.

SCI = ((E * I) + M) per R, with M = TE * (TiR/EL) * (RR/ToR): ISO/IEC 21031:2024, specification 1.1. E has what is
reserved and idle and the building's share; I is location-based; nothing is offset. SCI for AI (2026-01) reports two
personas: the consumer, who is answered, and the provider, who makes models. Both come from here and share nothing:
what was drawn and worn while a model was made is the provider's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.ledger.entries import AnyEntry, EnergyEntry, RequestEntry, StageEntry
from tokenworks.ledger.spending import unseen
from tokenworks.metering.carbon.intensity import TABLE, Average, average, read_signal
from tokenworks.metering.carbon.making import making, union
from tokenworks.metering.money.costs_file import Node, Sheet
from tokenworks.metering.money.drawn import Drawing, metered_node
from tokenworks.metering.money.energy import Energy, Metering, energy_lines, energy_of
from tokenworks.metering.money.metered import metered_hours
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.node import HOUR_S, QUARTER_S, YEAR_H, is_written_off, power_kw
from tokenworks.metering.money.sums import TRIAL, Key, Sums, told_here_uj

G_PER_KG = 1000.0
JOULES_PER_KWH = 3.6e6
Grams = Callable[[float], "float | None"]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What else of the ledger carbon is counted per."""

    workflows: int = 0  # conversations, and requests that belong to none
    making_s: float = 0.0  # in which stages of the line ran, data and evaluation included, cache hits left out
    models: int = 0  # versions that were registered
    parameters: int = 0  # of those
    stages: tuple[tuple[float, float], ...] = ()  # Unix times when those stages began and ended


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
    drawn_kwh: float  # by all machines, with the building's share
    metered_kwh: float  # of that; the rest is modelled
    energy: Energy | None  # by the meter, hour by hour; None: none was read


def footprint(
    sheet: Sheet, table: Mapping[Key, Sums], work: Work, month: Month, *, until: float,
    read: Sequence[EnergyEntry] = (), name: str = "",
) -> Footprint:  # fmt: skip
    """Return the carbon of a month until `until`.

    `read` is what the ledger has of the meter before the machine called `name`: what was metered counts, and only the
    rest is modelled. Raises `ConfigError` where the costs file lacks nodes or a zone.
    """
    if not sheet.file.nodes:
        raise ConfigError(f"{sheet.where}: carbon needs [[nodes]] with idle_kw and busy_kw")
    base, grams = intensity_of(sheet)
    own, metering = metered_node(sheet, name), Metering(*metered_hours(read, month))
    drawing = Drawing(
        sheet, table, begin=month.begin, end=min(month.end, until), own=own, metered=metering.hours
    )  # fmt: skip
    drawn = _drawn(drawing, base, grams)
    mean = drawn.operational_g / drawn.energy_kwh if drawn.energy_kwh else base.g_per_kwh
    node = own or sheet.file.nodes[0]
    made = making(read if own is not None else (), work.stages, month)
    metered_kwh = made.joules / JOULES_PER_KWH / node.metered_share * node.pue
    rest_s = max(0.0, work.making_s - made.seconds)
    provider = _provider(node, work, mean, metered_kwh + _making_kwh(node, rest_s, utilisation=1.0))
    consumed_kwh = max(0.0, drawn.energy_kwh - metered_kwh - _making_kwh(node, rest_s, utilisation=0.0))
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
        drawn_kwh=drawn.energy_kwh,
        metered_kwh=drawn.metered_kwh,
        energy=energy_of(metering, month, told_uj=told_here_uj(table), until=until),
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
    metered_kwh: float
    operational_g: float
    embodied_g: float
    hours_unknown: int


def _drawn(drawing: Drawing, base: Average, grams: Grams | None) -> _Drawn:
    energy, metered, operational, embodied, unknown = 0.0, 0.0, 0.0, 0.0, 0
    for node in drawing.sheet.file.nodes:
        for drawn in drawing.of(node):
            value = base.g_per_kwh if grams is None else _mean(grams, drawn.at, drawn.part_s)
            unknown += value is None
            energy += float(drawn.kwh)
            metered += float(drawn.metered_kwh)
            operational += float(drawn.kwh) * (base.g_per_kwh if value is None else value)
            embodied += 0.0 if is_written_off(node, drawn.at) else _embodied_g(node, drawn.part_s)
    return _Drawn(energy, metered, operational, embodied, unknown)


def _mean(grams: Grams, at: float, seconds: float) -> float | None:
    """Return the mean over so many seconds of an hour; None where the signal lacks a quarter of it."""
    values = [grams(at + QUARTER_S * quarter) for quarter in range(max(1, -(-int(seconds) // QUARTER_S)))]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _provider(node: Node, work: Work, g_per_kwh: float, energy_kwh: float) -> Persona:
    """Return what making models took: the whole machine for as long as its stages ran, less what requests took."""
    embodied_g = _embodied_g(node, _worn_s(node, work))
    made = Persona(energy_kwh=energy_kwh, operational_g=energy_kwh * g_per_kwh, embodied_g=embodied_g)
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


def _making_kwh(node: Node, seconds: float, *, utilisation: float) -> float:
    return float(power_kw(node, utilisation)) * node.pue * seconds / HOUR_S


def _worn_s(node: Node, work: Work) -> float:
    """Return the time in which stages wore a machine: not after its life, when all of its making is accounted for."""
    after_s = sum(until - since for since, until in work.stages if is_written_off(node, since))
    return max(0.0, work.making_s - after_s)


def _embodied_g(node: Node, seconds: float) -> float:
    return node.embodied_kg * G_PER_KG * seconds / (node.life_years * YEAR_H * HOUR_S)


def work_of(entries: Iterable[AnyEntry], month: Month, *, models: int = 0, parameters: int = 0) -> Work:
    """Return what the log says of a month besides its sums.

    Of a stage the time in the month counts, whenever it ended; of stages side by side the time in which one ran, since
    a machine draws and wears once. Samples, shadows and failed canaries are no workflows: nobody was given them.
    """
    conversations: set[tuple[str, str]] = set()
    alone = 0
    stages = []
    for entry in entries:
        if isinstance(entry, StageEntry):
            began, ended = max(entry.at - entry.seconds, month.begin), min(entry.at, month.end)
            if not entry.hit and began < ended:
                stages.append((began, ended))
        elif isinstance(entry, RequestEntry) and month.begin <= entry.at < month.end:
            if entry.outcome != "ok" or unseen(entry):
                continue
            if entry.conversation:
                conversations.add((entry.tenant, entry.conversation))
            else:
                alone += 1
    spans = union(stages)
    return Work(
        workflows=alone + len(conversations), making_s=sum(until - since for since, until in spans), models=models,
        parameters=parameters, stages=tuple(spans),
    )  # fmt: skip


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
    lines.append(f"drawn      {found.drawn_kwh:.3f} kWh, {found.metered_kwh:.3f} of them metered")
    return [*lines, *energy_lines(found.energy, modelled=True)]
