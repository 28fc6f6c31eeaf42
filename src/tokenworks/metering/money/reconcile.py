"""Whether a statement and the ledger's tables agree: the same sums, asked of a database in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tokenworks.ledger.sql.views import Views
from tokenworks.metering.money.metered import Hours, together
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.sums import HOUSE, Table, grouped

EXACT = ("requests", "input_tokens", "cached_tokens", "output_tokens", "price_micro", "cost_micro")
ROUNDED = ("engine_us", "joules_micro")  # of floats: entries round by up to half a millionth each, and SQL does not
ENERGY = ("metered_uj", "requests_uj", "other_uj", "idle_uj")
ROW_MICRO = 2  # by which one entry may be off
SHARE = 1e-9  # and sums of floats, in another order
# Written without a word of what adds up the log, so that a fault there shows here.
TRIAL = "(arm = 'shadow' OR request_id LIKE '%-canary')"
SAMPLE = "(COALESCE(part_of, '') <> '')"  # its tokens stand on the answer that it was drawn for
SEEN = "WITH seen(who, entries) AS (VALUES {rows}) "  # what was there when the statement was made
ROW = "(CAST(? AS TEXT), CAST(? AS INTEGER))"
REQUESTS = f"""
SELECT CASE WHEN {TRIAL} THEN '{HOUSE}' ELSE tenant END AS whose, SUM(CASE WHEN {SAMPLE} THEN 0 ELSE 1 END),
       SUM(CASE WHEN {SAMPLE} THEN 0 ELSE prompt_tokens END), SUM(CASE WHEN {SAMPLE} THEN 0 ELSE cached_tokens END),
       SUM(CASE WHEN {SAMPLE} THEN 0 ELSE completion_tokens END),
       SUM(CASE WHEN {TRIAL} THEN 0 ELSE price_micro END), SUM(cost_micro),
       1000000 * SUM(CASE WHEN engine_s >= 0 AND engine_s < 1e300 THEN engine_s ELSE 0 END),
       1000000 * SUM(CASE WHEN joules >= 0 AND joules < 1e300 THEN joules ELSE 0 END), COUNT(*)
FROM requests JOIN seen ON writer = who AND idx < entries
WHERE at >= ? AND at < ? GROUP BY 1 ORDER BY 1
"""
# An entry ends when it was read for the last time; of one in two months the part of its time counts.
METERED = """
, spans AS (
  SELECT metered_j, requests_j, other_j, idle_j, at - waiting_s - gap_s - seconds AS began, at - waiting_s AS ended
  FROM energies JOIN seen ON writer = who AND idx < entries
  WHERE seconds > 0 AND metered_j >= 0 AND requests_j >= 0 AND other_j >= 0 AND idle_j >= 0 AND gap_s >= 0
    AND ABS(requests_j + other_j + idle_j - metered_j) <= 0.001 * metered_j + 0.000001
), shares AS (
  SELECT spans.*, ((CASE WHEN ended < ? THEN ended ELSE ? END) - (CASE WHEN began > ? THEN began ELSE ? END))
                  / (ended - began) AS share FROM spans
)
SELECT 1000000 * SUM(metered_j * share), 1000000 * SUM(requests_j * share), 1000000 * SUM(other_j * share),
       1000000 * SUM(idle_j * share), COUNT(*)
FROM shares WHERE share > 0
"""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A figure on which the two do not agree."""

    tenant: str
    figure: str
    statement: int
    tables: int


def reconcile(
    views: Views, table: Table, month: Month, *, ledger: Mapping[str, int], hours: Hours | None = None
) -> list[Difference]:
    """Return every figure of every tenant that the tables give otherwise; fold what came since first.

    `ledger` has how many entries of each writer the statement was made of: the tables may have more by now. `hours`
    are those of the meter, whose sums nobody's are.
    """
    views.catch_up()
    if not ledger:
        return []
    seen = SEEN.format(rows=", ".join([ROW] * len(ledger)))
    places = [value for pair in sorted(ledger.items()) for value in pair]
    with views.ask(seen + REQUESTS, (*places, month.begin, month.end)) as found:
        theirs = {str(row[0]): [round(value or 0) for value in row[1:]] for row in found.rows}
    figures = (*EXACT, *ROUNDED)
    ours = {
        str(tenant): [getattr(sums, figure) for figure in figures]
        for (tenant,), sums in grouped(table, "tenant").items()
    }
    different = []
    for tenant in sorted({*ours, *theirs}):
        *others, rows = theirs.get(tenant, [0] * (len(figures) + 1))
        different += _differences(tenant, figures, ours.get(tenant, [0] * len(figures)), others, rows)
    if hours is None:
        return different
    with views.ask(seen + METERED, (*places, month.end, month.end, month.begin, month.begin)) as found:
        *others, rows = [round(value or 0) for value in next(iter(found.rows))]
    whole = together(hours)
    return different + _differences("", ENERGY, [getattr(whole, figure) for figure in ENERGY], others, rows)


def _differences(
    tenant: str, figures: Iterable[str], ours: Iterable[int], theirs: Iterable[int], rows: int
) -> list[Difference]:
    return [
        Difference(tenant=tenant, figure=figure, statement=mine, tables=other)
        for figure, mine, other in zip(figures, ours, theirs, strict=True)
        if abs(mine - other) > (0 if figure in EXACT else ROW_MICRO * (rows + 1) + SHARE * abs(mine))
    ]
