"""The statement of a month: who used what, what it is billed with, what it cost the house, and what stood idle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.metering.money.allocate import allocated
from tokenworks.metering.money.apportion import apportion
from tokenworks.metering.money.costs_file import IdleBy, Sheet
from tokenworks.metering.money.currency import minor_digits
from tokenworks.metering.money.drawn import metered_node
from tokenworks.metering.money.energy import NOT_METERED, Energy, Metering, energy_of
from tokenworks.metering.money.machines import Machines, machines
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.sums import MICRO, Sums, Table, grouped, together, told_here_uj

Basis = Literal["usage", "allocation"]
Hosted = Callable[[str, Sums], "int | None"]
LINE = ("tenant", "project", "model", "face", "place")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant had of one model, asked in one way. Money is in millionths."""

    tenant: str
    project: str
    model: str
    face: str  # batch, messages, ...; trial: answered, and shown to nobody
    place: str  # the server elsewhere that answered; empty: this site
    requests: int
    answered: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    thinking_tokens: int
    engine_s: float
    joules: float | None  # of the requests that were metered
    joules_error: float  # standard uncertainty, as a share
    price_micro: int
    cost_micro: int
    hosted_micro: int | None = None  # what the hosted model of `compare` would have been billed with


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant comes to. `owed_minor` is the price (chargeback) or the cost (showback) in what can be paid."""

    tenant: str
    requests: int
    price_micro: int
    cost_micro: int
    idle_micro: int  # its part of idle time; 0 on the basis of usage
    owed_minor: int  # cents of EUR, yen of JPY, fils of KWD: see `Statement.minor_digits`


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A month. Every amount is in `currency`."""

    month: str
    currency: str
    minor_digits: int  # decimals of the smallest amount that can be paid in it
    basis: Basis
    charge: Literal["showback", "chargeback"]
    tenant: str  # empty: all
    complete: bool  # whether the month is over
    ledger: dict[str, int]  # entries of each writer when it was read
    lines: tuple[Line, ...]
    tenants: tuple[Due, ...]
    requests: int
    price_micro: int
    cost_micro: int
    uncosted: int  # requests with tokens whose cost nobody could tell
    unmetered: int  # requests without joules
    machines: Machines | None
    energy: Energy | None  # by the meter; None: none was read, or one tenant's statement
    idle_by: str
    elsewhere_micro: int  # what servers elsewhere cost
    notes: tuple[str, ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement is to say."""

    month: Month
    currency: str  # of the price list, and so of the entries
    tenant: str = ""
    basis: Basis = "usage"
    charge: Literal["showback", "chargeback"] = "showback"
    into: str = ""  # another currency, at the rates of the month's last day
    node: str = ""  # the machine of the costs file that the meter stands before; empty: the only one


def statement(
    table: Table, wanted: Wanted, *, now: float, ledger: Mapping[str, int], sheet: Sheet | None = None,
    hosted: Hosted | None = None, metering: Metering = NOT_METERED,
) -> Statement:  # fmt: skip
    """Return the statement of what `table` adds up, in the currency of the entries or in `wanted.into`.

    Machines drew what was metered, where something was, else what their power says.
    """
    own, metered = None, metered_node(sheet, wanted.node) if sheet is not None else None
    if sheet is not None:
        own = machines(
            sheet, table, wanted.month, until=now, into=wanted.currency, metered=metering.hours, own=metered
        )  # fmt: skip
    by: IdleBy = sheet.file.idle_by if sheet is not None else "peak"
    if wanted.basis == "allocation" and own is None:
        raise ConfigError("the basis of allocation needs a costs file with [[nodes]]: nobody knows what stood idle")
    idle = allocated(own.idle_micro, table, by, sheet) if own is not None and wanted.basis == "allocation" else {}
    mine = {key: sums for key, sums in table.items() if wanted.tenant in ("", key.tenant)}
    by_line = grouped(mine, *LINE)
    lines = [_line(group, sums, hosted) for group, sums in by_line.items()]
    sums, told_uj = together(by_line.values()), told_here_uj(table)
    energy = energy_of(metering, wanted.month, told_uj=told_uj, until=now) if not wanted.tenant else None
    found = Statement(
        month=wanted.month.name,
        currency=wanted.currency,
        minor_digits=minor_digits(wanted.currency),
        basis=wanted.basis,
        charge=wanted.charge,
        tenant=wanted.tenant,
        complete=now >= wanted.month.end,
        ledger=dict(ledger),
        lines=tuple(lines),
        tenants=_dues(by_line, idle, wanted),
        requests=sums.requests,
        price_micro=sums.price_micro,
        cost_micro=sums.cost_micro,
        uncosted=sums.uncosted,
        unmetered=sums.requests - sums.metered,
        machines=own if not wanted.tenant else None,
        energy=energy,
        idle_by=by if idle else "",
        elsewhere_micro=sum(one.cost_micro for one in lines if one.place),
        notes=_notes(sums, own, sheet, unplaced=bool(metering.hours) and own is not None and metered is None),
    )
    return _converted(found, wanted, sheet) if wanted.into not in ("", wanted.currency) else found


def minor(micro: int, digits: int) -> int:
    """Return millionths in units of so many decimals, rounded half to even."""
    return int((Decimal(micro) / 10 ** (6 - digits)).to_integral_value(ROUND_HALF_EVEN))


def _line(group: tuple[str | int, ...], sums: Sums, hosted: Hosted | None) -> Line:
    tenant, project, model, face, place = map(str, group)
    return Line(
        tenant=tenant,
        project=project,
        model=model,
        face=face,
        place=place,
        requests=sums.requests,
        answered=sums.answered,
        input_tokens=sums.input_tokens,
        cached_tokens=sums.cached_tokens,
        output_tokens=sums.output_tokens,
        thinking_tokens=sums.thinking_tokens,
        engine_s=sums.engine_us / MICRO,
        joules=sums.joules_micro / MICRO if sums.metered else None,
        joules_error=sums.error_micro / sums.joules_micro if sums.joules_micro else 0.0,
        price_micro=sums.price_micro,
        cost_micro=sums.cost_micro,
        hosted_micro=hosted(model, sums) if hosted is not None else None,
    )


def _dues(by_line: Mapping[tuple[str | int, ...], Sums], idle: Mapping[str, int], wanted: Wanted) -> tuple[Due, ...]:
    sums: dict[str, Sums] = {}
    for (tenant, *_), one in by_line.items():
        sums[str(tenant)] = sums.get(str(tenant), Sums()).plus(one)
    names = sorted({*sums, *(name for name in idle if wanted.tenant in ("", name))})
    return tuple(
        _due(name, sums.get(name, Sums()), idle.get(name, 0), wanted.charge, minor_digits(wanted.currency))
        for name in names
    )


def _due(tenant: str, sums: Sums, idle_micro: int, charge: str, digits: int) -> Due:
    owed = sums.price_micro if charge == "chargeback" else sums.cost_micro + idle_micro
    return Due(
        tenant=tenant,
        requests=sums.requests,
        price_micro=sums.price_micro,
        cost_micro=sums.cost_micro,
        idle_micro=idle_micro,
        owed_minor=minor(owed, digits),
    )


def _notes(sums: Sums, own: Machines | None, sheet: Sheet | None, *, unplaced: bool) -> tuple[str, ...]:
    notes = []
    if sheet is None:
        notes.append("there is no costs file: nobody knows what the requests cost the house")
    elif sums.uncosted:
        notes.append(
            f"{sums.uncosted} requests have tokens and no cost: before the costs file, or no [tokens] for them"
        )
    if unplaced:
        notes.append("nobody says which machine the meter stands before, so all their energy is modelled: costs.node")
    if own is not None and own.idle_micro < 0:
        notes.append(
            "the entries say more than the machines cost: engines that work at a time are more than `engines`, "
            "or the costs file was changed within the month"
        )
    return tuple(notes)


def _converted(found: Statement, wanted: Wanted, sheet: Sheet | None) -> Statement:
    """Return the statement in another currency: sums are converted, and their parts add up to them again."""
    if sheet is None:
        raise ConfigError(f"--currency {wanted.into}: the rates stand in the costs file, and there is none")
    factor = sheet.rates.convert(Decimal(1), wanted.currency, wanted.into, wanted.month.last_day)

    def into(micro: int) -> int:
        return int((micro * factor).to_integral_value(ROUND_HALF_EVEN))

    def parts(values: list[int]) -> list[int]:
        weights = dict(enumerate(values))
        return list(apportion(into(sum(values)), weights).values()) if any(values) else values

    price, cost = parts([one.price_micro for one in found.lines]), parts([one.cost_micro for one in found.lines])
    lines = [
        msgspec.structs.replace(
            one,
            price_micro=price[place],
            cost_micro=cost[place],
            hosted_micro=None if one.hosted_micro is None else into(one.hosted_micro),
        )
        for place, one in enumerate(found.lines)
    ]
    own = _machines_into(found.machines, lines, into) if found.machines is not None else None
    idle = _idle_into(found, own, into)
    digits = minor_digits(wanted.into)
    tenants = [_due_of(one, lines, part, wanted.charge, digits) for one, part in zip(found.tenants, idle, strict=True)]
    return msgspec.structs.replace(
        found,
        currency=wanted.into,
        minor_digits=digits,
        lines=tuple(lines),
        tenants=tuple(tenants),
        price_micro=sum(price),
        cost_micro=sum(cost),
        elsewhere_micro=sum(one.cost_micro for one in lines if one.place),
        machines=own,
        notes=(*found.notes, f"1 {wanted.currency} = {factor:f} {wanted.into} on {wanted.month.last_day}"),
    )


def _idle_into(found: Statement, own: Machines | None, into: Callable[[int], int]) -> list[int]:
    """Return what each tenant bears of idle time; of a statement of all, together what stood idle."""
    parts = [one.idle_micro for one in found.tenants]
    if own is None or not found.idle_by:
        return [into(part) for part in parts]
    weights = {place: abs(part) for place, part in enumerate(parts)}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    return list(apportion(own.idle_micro, weights).values())


def _due_of(one: Due, lines: list[Line], idle_micro: int, charge: str, digits: int) -> Due:
    own = [line for line in lines if line.tenant == one.tenant]
    sums = Sums(
        requests=one.requests,
        price_micro=sum(line.price_micro for line in own),
        cost_micro=sum(line.cost_micro for line in own),
    )
    return _due(one.tenant, sums, idle_micro, charge, digits)


def _machines_into(own: Machines, lines: list[Line], into: Callable[[int], int]) -> Machines:
    by_kind = {kind: into(micro) for kind, micro in own.by_kind.items()}
    whole, used = sum(by_kind.values()), sum(line.cost_micro for line in lines if not line.place)
    return msgspec.structs.replace(own, by_kind=by_kind, total_micro=whole, used_micro=used, idle_micro=whole - used)
