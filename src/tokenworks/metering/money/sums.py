"""The requests of a month added up from the log itself, by the hour: whole numbers, whose sum knows no order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tokenworks.core.destination import HERE
from tokenworks.ledger.entries import AnyEntry, EnergyEntry, RequestEntry
from tokenworks.ledger.metered import began_at
from tokenworks.ledger.reader import Cursor, writers
from tokenworks.ledger.spending import alias_of
from tokenworks.metering.money.month import Month

HOUR_S = 3600
MICRO = 1_000_000
TRIAL = "trial"  # the face of what shadows and failed canaries answered: nobody is billed for it
HOUSE = "house"


class Key(NamedTuple):
    """What is added up together."""

    hour: int  # since the Unix epoch
    tenant: str
    project: str
    model: str  # as asked for, without its version
    version: str  # that answered
    face: str
    place: str  # the name of a server elsewhere that answered; empty: this site


class Sums(NamedTuple):
    """Sums over requests."""

    requests: int = 0
    answered: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0  # of the input
    output_tokens: int = 0
    thinking_tokens: int = 0  # of the output
    price_micro: int = 0  # what is billed
    cost_micro: int = 0  # what they cost the house
    engine_us: int = 0
    joules_micro: int = 0
    metered: int = 0  # requests with joules
    uncosted: int = 0  # requests with tokens and no cost
    error_micro: int = 0  # standard uncertainty of the joules, added up: one meter errs alike from request to request

    def plus(self, other: Sums) -> Sums:
        """Return both together."""
        return Sums(*[one + more for one, more in zip(self, other, strict=True)])


Table = dict[Key, Sums]


class MonthSums(NamedTuple):
    """What the log says of a month."""

    table: Table
    energy: list[EnergyEntry]  # whose time lies in it, at least in part
    ledger: dict[str, int]  # entries of each writer when it was read


def month_sums(root: Path, month: Month) -> MonthSums:
    """Return the sums of the log at `root` for a month. Raises `IntegrityError` at damage."""
    read: dict[str, int] = {}
    energy: list[EnergyEntry] = []
    return MonthSums(add_up(_entries(root, read), month, energy), energy, read)


def add_up(entries: Iterable[AnyEntry], month: Month, energy: list[EnergyEntry] | None = None) -> Table:
    """Return the sums of the requests of a month; what was metered in it is put into `energy`."""
    begin, end = month.begin, month.end
    sums: dict[tuple[int, str, str, str, str, str, str], list[int]] = {}
    of_samples: set[str] = set()  # answers of which a sample was metered
    answers: list[tuple[str, list[int]]] = []  # that were thought about, which have no joules of their own
    for entry in entries:
        if type(entry) is not RequestEntry or not begin <= entry.at < end:
            if energy is not None and type(entry) is EnergyEntry and not (began_at(entry) >= end or entry.at < begin):
                energy.append(entry)
            continue
        trial = entry.arm == "shadow" or entry.request_id.endswith("-canary")
        key = (
            int(entry.at // HOUR_S),
            HOUSE if trial else entry.tenant,
            entry.project,
            entry.model,
            entry.version,
            TRIAL if trial else entry.face,
            _place(entry) if entry.sent else "",
        )
        row = sums.get(key)
        if row is None:
            row = sums[key] = [0] * len(Sums._fields)
        if not entry.part_of:  # the tokens of samples stand on their answer, and what they cost on themselves
            row[0] += 1
            row[1] += entry.outcome == "ok"
            row[2] += entry.prompt_tokens
            row[3] += entry.cached_tokens
            row[4] += entry.completion_tokens
            row[5] += entry.thinking_tokens
            row[6] += 0 if trial else entry.price_micro  # as `spending.charged_micro`, which is asked a million times
        row[7] += entry.cost_micro
        row[8] += round(entry.engine_s * MICRO) if 0 <= entry.engine_s < math.inf else 0
        if entry.joules is not None and 0 <= entry.joules < math.inf:  # else nobody knows: counted as unmetered
            row[9] += round(entry.joules * MICRO)
            if 0 < entry.joules_error < math.inf:
                row[12] += round(entry.joules * entry.joules_error * MICRO)
            row[10] += not entry.part_of
            if entry.part_of:
                of_samples.add(entry.part_of)
        elif entry.samples:
            answers.append((entry.request_id, row))
        if not entry.cost_micro and not entry.samples and entry.prompt_tokens + entry.completion_tokens:
            row[11] += 1
    for request_id, row in answers:
        row[10] += request_id in of_samples
    return _named(sums)


def _named(sums: Mapping[tuple[int, str, str, str, str, str, str], list[int]]) -> Table:
    """Return the sums with models under their aliases: `name@version` and `name` are one model."""
    table: Table = {}
    for (hour, tenant, project, model, version, face, place), row in sums.items():
        key = Key(hour, tenant, project, alias_of(model), version, face, place)
        table[key] = table[key].plus(Sums(*row)) if key in table else Sums(*row)
    return table


def grouped(table: Mapping[Key, Sums], *names: str) -> dict[tuple[str | int, ...], Sums]:
    """Return the sums by the named parts of the key, in order."""
    found: dict[tuple[str | int, ...], list[int]] = {}
    places = [Key._fields.index(name) for name in names]
    for key, sums in table.items():
        group = tuple([key[place] for place in places])
        row = found.get(group)
        if row is None:
            found[group] = list(sums)
        else:
            for place, value in enumerate(sums):
                row[place] += value
    return {group: Sums(*found[group]) for group in sorted(found)}


def told_here_uj(table: Mapping[Key, Sums]) -> int:
    """Return the joules of requests that this site answered, in millionths: other sites have meters of their own."""
    return sum(sums.joules_micro for key, sums in table.items() if not key.place)


def together(rows: Iterable[Sums]) -> Sums:
    """Return the sum of sums."""
    columns = list(zip(*rows, strict=True))
    return Sums(*map(sum, columns)) if columns else Sums()


def _place(entry: RequestEntry) -> str:
    answered = next((one.to for one in reversed(entry.sent) if one.ended == "ok"), HERE)
    return "" if answered == HERE else answered


def _entries(root: Path, read: dict[str, int]) -> Iterator[AnyEntry]:
    """Yield every entry, writer by writer: a sum needs no order in time."""
    for name in writers(root):
        cursor = Cursor(root / name)
        for _, entry in cursor.entries():
            yield entry
        read[name] = cursor.index
