"""A statement as text for people and as CSV for sheets."""

from __future__ import annotations

import csv
import io

import msgspec

from tokenworks.metering.money.energy import energy_lines
from tokenworks.metering.money.statement import Due, Line, Statement

MICRO = 1_000_000


def money(micro: int) -> str:
    """Return millionths with all six digits: sums of what is shown are the sums that are shown."""
    sign, size = ("-", -micro) if micro < 0 else ("", micro)
    return f"{sign}{size // MICRO}.{size % MICRO:06d}"


def owed(minor: int, digits: int) -> str:
    """Return an amount in units of so many decimals as a decimal number."""
    sign, size = ("-", -minor) if minor < 0 else ("", minor)
    return f"{sign}{size // 10**digits}.{size % 10**digits:0{digits}d}" if digits else f"{sign}{size}"


def statement_lines(found: Statement) -> list[str]:
    """Return a statement on one screen."""
    whose = found.tenant or "all tenants"
    state = "" if found.complete else ", not over yet"
    lines = [f"Statement {found.month}{state}: {whose}, in {found.currency}, {found.charge} by {found.basis}", ""]
    compared = any(one.hosted_micro is not None for one in found.lines)
    heads = ["tenant", "model", "way", "requests", "input", "cached", "output", "engine s", "joules", "price", "cost"]
    lines += _columns([*heads, *(["hosted"] if compared else [])], [_cells(one, compared) for one in found.lines], 3)
    lines += [
        "",
        *_columns(["tenant", "requests", "price", "cost", "idle", "owed"], _dues(found.tenants, found.minor_digits), 1),
        "",
    ]
    lines.append(
        f"{found.requests} requests  price {money(found.price_micro)}  cost {money(found.cost_micro)} {found.currency}"
    )
    if found.elsewhere_micro:
        lines.append(f"elsewhere  {money(found.elsewhere_micro)} of that cost was paid to servers elsewhere")
    if (own := found.machines) is not None:
        kinds = ", ".join(f"{kind} {money(micro)}" for kind, micro in own.by_kind.items() if micro)
        lines.append(
            f"machines   {money(own.total_micro)} = used {money(own.used_micro)} + idle {money(own.idle_micro)}"
        )
        lines.append(f"           {kinds}")
        lines.append(
            f"           {own.hours} hours, {own.busy_share:.1%} of the engines' time, {own.energy_kwh:.3f} kWh, "
            f"{own.metered_kwh:.3f} of them metered"
        )
    if found.energy is not None or own is not None:
        lines += energy_lines(found.energy, modelled=own is not None)
    if found.idle_by:
        lines.append(f"idle       is borne by {found.idle_by}")
    lines += [f"note       {note}" for note in found.notes]
    entries = ", ".join(f"{writer} {count}" for writer, count in sorted(found.ledger.items()))
    return [*lines, f"ledger     {entries or 'empty'}"]


def statement_csv(found: Statement) -> str:
    """Return the lines of a statement as CSV, amounts in millionths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = Line.__struct_fields__
    writer.writerow(["month", "currency", *names])
    for one in found.lines:
        values = msgspec.structs.asdict(one)
        writer.writerow(
            [found.month, found.currency, *("" if values[name] is None else values[name] for name in names)]
        )
    return text.getvalue()


def _cells(one: Line, compared: bool) -> list[str]:
    cells = [one.tenant or "-", one.model or "-", "/".join(part for part in (one.face, one.place) if part) or "-"]
    cells += [str(value) for value in (one.requests, one.input_tokens, one.cached_tokens, one.output_tokens)]
    cells += [f"{one.engine_s:.3f}", "-" if one.joules is None else f"{one.joules:.1f}"]
    cells += [money(one.price_micro), money(one.cost_micro)]
    return cells + ([] if not compared else ["-" if one.hosted_micro is None else money(one.hosted_micro)])


def _dues(tenants: tuple[Due, ...], digits: int) -> list[list[str]]:
    return [
        [
            *(one.tenant or "-", str(one.requests), money(one.price_micro), money(one.cost_micro)),
            *(money(one.idle_micro), owed(one.owed_minor, digits)),
        ]
        for one in tenants
    ]


def _columns(heads: list[str], rows: list[list[str]], left: int) -> list[str]:
    """Return aligned columns, the first `left` of them to the left. Names of callers may hold escape sequences."""
    cells = [
        heads,
        *[["".join(one if one.isprintable() else "\ufffd" for one in cell) for cell in row] for row in rows],
    ]
    widths = [max(len(row[place]) for row in cells) for place in range(len(heads))]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
