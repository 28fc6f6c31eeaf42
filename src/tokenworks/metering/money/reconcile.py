"""Whether a statement and the ledger's tables agree: the same sums, asked of a database in SQL."""

from __future__ import annotations

import msgspec

from tokenworks.ledger.sql.views import Views
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.sums import HOUSE, Table, grouped

FIGURES = ("requests", "input_tokens", "cached_tokens", "output_tokens", "price_micro", "cost_micro")
# Written without a word of what adds up the log, so that a fault there shows here.
TRIAL = "(arm = 'shadow' OR request_id LIKE '%-canary')"
SAMPLE = "(COALESCE(part_of, '') <> '')"  # its tokens stand on the answer that it was drawn for
QUERY = f"""
SELECT CASE WHEN {TRIAL} THEN '{HOUSE}' ELSE tenant END AS whose, SUM(CASE WHEN {SAMPLE} THEN 0 ELSE 1 END),
       SUM(CASE WHEN {SAMPLE} THEN 0 ELSE prompt_tokens END), SUM(CASE WHEN {SAMPLE} THEN 0 ELSE cached_tokens END),
       SUM(CASE WHEN {SAMPLE} THEN 0 ELSE completion_tokens END),
       SUM(CASE WHEN {TRIAL} THEN 0 ELSE price_micro END), SUM(cost_micro)
FROM requests WHERE at >= ? AND at < ? GROUP BY whose ORDER BY whose
"""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A figure on which the two do not agree."""

    tenant: str
    figure: str
    statement: int
    tables: int


def reconcile(views: Views, table: Table, month: Month) -> list[Difference]:
    """Return every figure of every tenant that the tables give otherwise; fold what came since first."""
    views.catch_up()
    with views.ask(QUERY, (month.begin, month.end)) as found:
        theirs = {str(row[0]): [int(value or 0) for value in row[1:]] for row in found.rows}
    ours = {
        str(tenant): [getattr(sums, figure) for figure in FIGURES]
        for (tenant,), sums in grouped(table, "tenant").items()
    }
    nothing = [0] * len(FIGURES)
    return [
        Difference(tenant=tenant, figure=figure, statement=mine, tables=other)
        for tenant in sorted({*ours, *theirs})
        for figure, mine, other in zip(FIGURES, ours.get(tenant, nothing), theirs.get(tenant, nothing), strict=True)
        if mine != other
    ]
