"""How fast the ledger's tables are folded from scratch, and asked.

    python benchmarks/views.py [--records 1000000] [--postgres URL]

Results go to benchmarks/results/views.json and views.md. The log is written before, as `benchmarks/proofs.py` does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from ledger import RESULTS, entry, machine
from tokenworks.core.clock import SystemClock
from tokenworks.ledger.log import Log
from tokenworks.ledger.sql import duck
from tokenworks.ledger.sql.export import export
from tokenworks.ledger.sql.views import Views, open_views

Row = dict[str, Any]
QUERY = "SELECT tenant, count(*), avg(latency_s), sum(completion_tokens) FROM requests GROUP BY tenant ORDER BY tenant"


def build(folder: Path, records: int) -> None:
    """Write a log of `records` requests of 50 tenants over 30 days."""
    log = Log(folder / "bench", SystemClock(), 16 << 20)
    facts = msgspec.to_builtins(entry(0))
    while log.size < records:
        batch = []
        for number in range(log.size, min(records, log.size + 2000)):
            facts |= {
                "request_id": f"req-{number:026d}",
                "tenant": f"tenant-{number % 50}",
                "at": 1.79e9 + number * 2.5,
            }
            batch.append(msgspec.msgpack.encode(facts))
        while batch:
            batch = batch[log.append(batch) :]
    log.close()


def timed(work: Any) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def asked(views: Views, *, in_duckdb: bool) -> None:
    """Ask the query and read its answer."""
    with duck.ask(views, QUERY) if in_duckdb else views.ask(QUERY) as found:
        assert len(list(found.rows)) == 50


def measure(root: Path, folder: Path, url: str, records: int) -> Row:
    """Fold from scratch, fold again, ask and export."""
    with open_views(root, folder, url) as views:
        rebuild_s = timed(views.rebuild)
        row: Row = {
            "database": url.partition(":")[0].partition("+")[0],
            "records": records,
            "rebuild_s": rebuild_s,
            "records_per_s": records / rebuild_s,
            "nothing_new_s": timed(views.catch_up),
            "query_there_s": timed(lambda: asked(views, in_duckdb=False)),
            "query_duckdb_s": timed(lambda: asked(views, in_duckdb=True)),
        }
        for form in ("parquet", "jsonl", "csv"):
            path = folder / f"out.{form}"
            row[f"{form}_s"] = timed(lambda form=form, path=path: export(views, "requests", path, form))
            row[f"{form}_mb"] = path.stat().st_size / 1e6
        return row


def _head(where: Row) -> str:
    place = f"{where['cores']} cores of {where['cpu']}, Python {where['python']}, SQLite {where['sqlite']}"
    return f"# The ledger's tables\n\n{place}; load {where['load']:.1f} when it began. Times in seconds.\n"


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--postgres", default="", help="postgresql+psycopg://...; empty: SQLite alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "ledger"
        build(root, options.records)
        urls = ["sqlite://", *([options.postgres] if options.postgres else [])]
        rows = [measure(root, Path(name) / str(place), url, options.records) for place, url in enumerate(urls)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "views.json").write_bytes(
        msgspec.json.format(msgspec.json.encode({"machine": machine(None), "rows": rows}))
    )
    lines = [_head(machine(None))]
    lines.append("| figure | " + " | ".join(row["database"] for row in rows) + " |")
    lines.append("| --- |" + " ---: |" * len(rows))
    for key in rows[0]:
        if key != "database":
            lines.append(f"| {key} | " + " | ".join(f"{row[key]:,.3g}" for row in rows) + " |")
    (RESULTS / "views.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
