"""`tokenworks report statement|carbon`: what a month came to, in money and in grams."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from tokenworks.cli.context import Context
from tokenworks.cli.report import group

Form = Literal["text", "json", "csv", "focus"]


def register(_: typer.Typer) -> None:
    """Add the commands to the group `report`."""
    group.command()(statement)
    group.command()(carbon)


def statement(
    context: typer.Context,
    month: Annotated[str, typer.Option(help="The month, in UTC: 2026-10.")],
    tenant: Annotated[str, typer.Option(help="Of one tenant alone.")] = "",
    form: Annotated[str, typer.Option("--format", help="text | json | csv | focus")] = "text",
    charge: Annotated[str, typer.Option(help="showback: what it cost | chargeback: what is billed")] = "showback",
    basis: Annotated[str, typer.Option(help="usage | allocation: idle machines are borne by tenants too")] = "usage",
    currency: Annotated[str, typer.Option(help="Another currency, at the rates of the costs file.")] = "",
    issuer: Annotated[str, typer.Option(help="Who issues it, for FOCUS [default: this host].")] = "",
    out: Annotated[Path | None, typer.Option(help="File to write it to.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Add up the ledger's tables in SQL too, and compare.")] = False,
) -> None:
    """Say what a month came to: tokens, joules, prices and costs by tenant and model, and what stood idle."""
    import time

    import msgspec

    from tokenworks.core.errors import ConfigError
    from tokenworks.core.files import write_atomic
    from tokenworks.factory.billing import bill, check_bill
    from tokenworks.metering.money.shown import statement_lines

    ours: Context = context.obj
    wanted = "json" if ours.as_json and form == "text" else form
    if wanted not in get_args(Form):
        raise ConfigError(f"--format {form}: write text, json, csv or focus")
    if charge not in ("showback", "chargeback") or basis not in ("usage", "allocation"):
        raise ConfigError("--charge is showback or chargeback, --basis is usage or allocation")
    billed = bill(
        ours.settings, month, now=time.time(), tenant=tenant, basis=basis, charge=charge, into=currency  # type: ignore[arg-type]
    )  # fmt: skip
    if wanted == "focus" and currency:
        raise ConfigError("--currency with --format focus: rows are in the currency of the entries; leave one out")
    if check:
        check_bill(ours.settings, billed)
    if wanted == "csv":
        text = billed.csv()
    elif wanted == "focus":
        text = billed.focus(issuer)
    elif wanted == "json":
        text = msgspec.json.format(msgspec.json.encode(billed.statement), indent=2).decode() + "\n"
    else:
        text = "\n".join(statement_lines(billed.statement)) + "\n"
    if out is not None:
        write_atomic(out, text.encode())
        text = f"{out}: statement of {billed.statement.month}, {len(billed.statement.lines)} lines\n"
    sys.stdout.write(text)
    if check:
        print("the ledger's tables, added up in SQL, say the same", file=sys.stderr)


def carbon(
    context: typer.Context,
    month: Annotated[str, typer.Option(help="The month, in UTC: 2026-10.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what a month came to in CO2 equivalent: SCI for those who were answered and for those who made models."""
    import time

    from tokenworks.factory.billing import carbon as carbon_of
    from tokenworks.metering.carbon.footprint import footprint_lines
    from tokenworks.metering.money.month import month_of

    ours: Context = context.obj
    ours = ours if not as_json else Context(ours.home, ours.config, as_json=True)
    span = month_of(month)
    with ours.factory() as factory:
        models = factory.catalog.models
        every = [one for name in models.names() for one in models.of(name)]
    versions = [one for one in every if span.begin <= one.created_at < span.end]
    made = len(versions), sum(one.parameters for one in versions)
    found = carbon_of(ours.settings, month, now=time.time(), models=made)
    ours.show(found, "\n".join(footprint_lines(found)))
