"""Statements of one home: the log's sums, the costs file, the comparison, and the check against the tables."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Literal

import msgspec

from tokenworks.core.errors import ConfigError, IntegrityError
from tokenworks.factory.costing import costs_sheet
from tokenworks.ledger.reader import read
from tokenworks.ledger.sql.views import open_views
from tokenworks.metering.carbon.footprint import Footprint, footprint, work_of
from tokenworks.metering.money.costs_file import NAME
from tokenworks.metering.money.energy import Metering
from tokenworks.metering.money.focus import focus_csv, focus_rows
from tokenworks.metering.money.hosted import HostedPrices
from tokenworks.metering.money.metered import metered_hours
from tokenworks.metering.money.month import month_of
from tokenworks.metering.money.reconcile import reconcile
from tokenworks.metering.money.shown import statement_csv
from tokenworks.metering.money.statement import Basis, Statement, Wanted, statement
from tokenworks.metering.money.sums import Sums, Table, month_sums
from tokenworks.settings import Settings

Charge = Literal["showback", "chargeback"]


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """A statement and what it was made of."""

    statement: Statement
    table: Table
    metering: Metering

    def csv(self) -> str:
        """Return its lines as CSV."""
        return statement_csv(self.statement)

    def focus(self, issuer: str = "") -> str:
        """Return it as rows of FOCUS, issued by `issuer`, by default this host."""
        month = month_of(self.statement.month)
        rows = focus_rows(
            self.statement, self.table, begin=month.begin, end=month.end, issuer=issuer or socket.gethostname()
        )
        return focus_csv(rows)


def bill(
    settings: Settings,
    month: str,
    *,
    now: float,
    tenant: str = "",
    basis: Basis = "usage",
    charge: Charge = "showback",
    into: str = "",
) -> Billed:
    """Return the statement of a month (`2026-10`, UTC) of the home in `settings`.

    Raises `ConfigError` for a month, a currency or a costs file that cannot be read, `IntegrityError` for a damaged
    log.
    """
    wanted = Wanted(
        month=month_of(month), currency=settings.prices.currency, tenant=tenant, basis=basis, charge=charge, into=into,
        node=settings.costs.node,
    )  # fmt: skip
    sheet = costs_sheet(settings)
    hosted: Callable[[str, Sums], int | None] | None = None
    if sheet is not None and sheet.file.compare:
        hosted = HostedPrices(sheet, wanted.month, into=wanted.currency)
    sums = month_sums(settings.home_path / "ledger", wanted.month)
    metering = Metering(*metered_hours(sums.energy, wanted.month))
    found = statement(
        sums.table, wanted, now=now, ledger=sums.ledger, sheet=sheet, hosted=hosted, metering=metering
    )  # fmt: skip
    return Billed(statement=found, table=sums.table, metering=metering)


def carbon(settings: Settings, month: str, *, now: float, models: tuple[int, int] = (0, 0)) -> Footprint:
    """Return the carbon of a month; `models` are how many versions were made in it, and their parameters.

    Raises `ConfigError` where the costs file does not say which machines there are and where their power is from.
    """
    sheet, span = costs_sheet(settings), month_of(month)
    if sheet is None:
        raise ConfigError(f"there is no costs file at {settings.home_path / NAME}; it says which machines there are")
    root = settings.home_path / "ledger"
    sums = month_sums(root, span)
    work = work_of((entry for _, entry in read(root)), span, models=models[0], parameters=models[1])
    return footprint(sheet, sums.table, work, span, until=now, read=sums.energy, name=settings.costs.node)


def check_bill(settings: Settings, billed: Billed) -> None:
    """Raise `IntegrityError` where the ledger's tables add up to anything else than the statement."""
    home = settings.home_path
    with open_views(home / "ledger", home / "views", settings.catalog_url) as views:
        different = reconcile(
            views, billed.table, month_of(billed.statement.month), ledger=billed.statement.ledger,
            hours=billed.metering.hours,
        )  # fmt: skip
    if different:
        first = different[0]
        raise IntegrityError(
            f"{len(different)} figures of the statement are not those of the ledger's tables; the first: "
            f"{first.figure} of {first.tenant or 'nobody'} is {first.statement} here and {first.tables} there; "
            "fold the tables again with: tokenworks ledger fold --rebuild"
        )
