"""How long the statement of a month takes from the log itself, beside an independent sum in SQL; both must agree.

    python benchmarks/statement.py [--records 1000000] [--rounds 3]

Rounds are interleaved. Results go to benchmarks/results/statement.json and .md. The SQL sum is asked of the ledger's
tables once they are folded; folding them from nothing is measured apart, since a statement does without.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from ledger import RESULTS, entry, machine
from tokenworks.core.clock import SystemClock
from tokenworks.factory.billing import bill
from tokenworks.ledger.entries import EnergyEntry
from tokenworks.ledger.log import Log
from tokenworks.ledger.sql.views import Views, open_views
from tokenworks.metering.money.month import Month, month_of
from tokenworks.metering.money.reconcile import reconcile
from tokenworks.metering.money.shown import statement_lines
from tokenworks.settings import load_settings

Row = dict[str, Any]
MINUTE_S = 60.0
MONTH = month_of("2026-10")
COSTS = """
as_of = 2026-10-01
currency = "EUR"
idle_by = "peak"
[[nodes]]
name = "a"
since = 2026-01-01
price = 280000
residual = 0.1
idle_kw = 2.0
busy_kw = 8.0
staff_per_year = 60000
engines = 8
[[tariffs]]
since = 2026-01-01
[[tariffs.bands]]
per_kwh = 0.15
"""
SUM = """
SELECT COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), SUM(price_micro), SUM(cost_micro)
FROM requests WHERE at >= ? AND at < ?
"""


def build(home: Path, records: int, month: Month) -> None:
    """Write a log of `records` requests of 50 tenants for 4 models, spread over the month."""
    log, rng = Log(home / "ledger" / "bench", SystemClock(), 16 << 20), random.Random(0)
    facts = msgspec.to_builtins(entry(0))
    step = (month.end - month.begin) / records
    while log.size < records:
        batch = []
        for number in range(log.size, min(records, log.size + 2000)):
            facts |= {
                "request_id": f"req-{number:026d}",
                "at": month.begin + number * step,
                "tenant": f"tenant-{rng.randrange(50)}",
                "model": f"model-{rng.randrange(4)}",
                "price_micro": rng.randrange(10_000),
                "cost_micro": rng.randrange(5_000),
                "engine_s": rng.random(),
                "joules": rng.random() * 100,
                "meter": "rapl",
            }
            batch.append(msgspec.msgpack.encode(facts))
        while batch:
            batch = batch[log.append(batch) :]
    log.close()
    meter(home, month)
    (home / "costs.toml").write_text(COSTS)


def meter(home: Path, month: Month) -> None:
    """Write what a meter says of every minute of the month; a tenth of the hours is not metered."""
    log, rng = Log(home / "ledger" / "meter", SystemClock(), 16 << 20), random.Random(1)
    batch = []
    for minute in range(1, round((month.end - month.begin) / MINUTE_S) + 1):
        idle, requests, other = rng.random() * 6000, rng.random() * 6000, rng.random() * 500
        if minute // 60 % 10:
            read = EnergyEntry(
                at=month.begin + minute * MINUTE_S, seconds=MINUTE_S, metered_j=idle + requests + other, idle_j=idle,
                requests_j=requests, other_j=other, engine_s=rng.random() * MINUTE_S, meter="rapl", source="rapl",
                error=0.05,
            )  # fmt: skip
            batch.append(msgspec.msgpack.encode(read))
    while batch:
        batch = batch[log.append(batch) :]
    log.close()


def asked(views: Views) -> tuple[int, ...]:
    """Return the independent sums."""
    with views.ask(SUM, (MONTH.begin, MONTH.end)) as found:
        return tuple(int(value) for value in next(iter(found.rows)))


def measure(home: Path, records: int, rounds: int) -> Row:
    """Build the log, fold its tables, then make statements and sums in turns."""
    if not (home / "costs.toml").exists():
        build(home, records, MONTH)
    settings = load_settings(home=home, environ={})
    row: Row = {"records": records, "statement_s": [], "statement_cpu_s": [], "sql_s": []}
    with open_views(home / "ledger", home / "views", settings.catalog_url) as views:
        began = time.perf_counter()
        views.catch_up()
        row["fold_s"] = time.perf_counter() - began
        for _ in range(rounds):
            began, cpu = time.perf_counter(), time.process_time()
            billed = bill(settings, MONTH.name, now=MONTH.end, basis="allocation", charge="chargeback")
            text = statement_lines(billed.statement)
            row["statement_s"].append(time.perf_counter() - began)
            row["statement_cpu_s"].append(time.process_time() - cpu)
            began = time.perf_counter()
            sums = asked(views)
            row["sql_s"].append(time.perf_counter() - began)
            found = billed.statement
            ours = (
                found.requests,
                sum(line.input_tokens for line in found.lines),
                sum(line.output_tokens for line in found.lines),
                found.price_micro,
                found.cost_micro,
            )
            assert ours == sums, (ours, sums)
            ledger, hours = billed.statement.ledger, billed.metering.hours
            assert reconcile(views, billed.table, MONTH, ledger=ledger, hours=hours) == []
            energy = billed.statement.energy
            assert energy is not None
            assert energy.requests_uj + energy.other_uj + energy.idle_uj == energy.metered_uj
    row["lines"], row["groups"] = len(text), len(billed.table)
    return row


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for the log, used again where it is there")
    options = parser.parse_args()
    about = machine(None)
    with tempfile.TemporaryDirectory() as name:
        row = measure(options.keep or Path(name), options.records, options.rounds)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "statement.json").write_bytes(msgspec.json.format(msgspec.json.encode({"machine": about, **row})))
    lines = [
        "# The statement of a month\n",
        f"{about['cores']} cores of {about['cpu']}, Python {about['python']}; load {about['load']:.1f} when it began. "
        f"{row['records']:,} requests of 50 tenants and 4 models, {row['groups']:,} hours of theirs; an entry of the "
        f"meter for each minute of nine hours in ten; {options.rounds} rounds, interleaved; median (min - max) seconds."
        " Every round the statement equalled the SQL sum, tenant by tenant, joules too.\n",
        "| | seconds |",
        "| --- | ---: |",
    ]
    for name, what in (
        ("statement_s", "statement from the log, text included"),
        ("statement_cpu_s", "processor time of that"),
        ("sql_s", "the SQL sum, tables folded before"),
    ):
        values = row[name]
        lines.append(f"| {what} | {statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f}) |")
    if row["fold_s"] > 1:  # else they were folded by a run before
        lines.append(f"| folding the tables from nothing, once | {row['fold_s']:.2f} |")
    (RESULTS / "statement.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
