"""`tokenworks ledger sql|export|fold`: the ledger as tables."""

from __future__ import annotations

import csv
import io
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tokenworks.cli.columns import columns
from tokenworks.cli.context import Context
from tokenworks.cli.ledger import group

if TYPE_CHECKING:
    from tokenworks.ledger.sql.views import Views

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def register(_: typer.Typer) -> None:
    """Add the commands to the group `ledger`."""
    for command in (sql, export, fold):
        group.command()(command)


def sql(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="One SELECT over requests, feedback, releases, turns, usage, ...")],
    engine: Annotated[str, typer.Option(help="auto | duckdb | database (where the tables lie)")] = "auto",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of columns.")] = False,
) -> None:
    """Ask the ledger in SQL, in DuckDB where it is installed; what came since the last time is folded in first."""
    ours: Context = context.obj
    with _views(ours) as views:
        views.catch_up()
        with _asked(views, query, engine) as found:
            head, rows = found.columns, list(found.rows)
    ours.show([dict(zip(head, row, strict=True)) for row in rows], (_csv if as_csv else columns)(head, rows))


def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="File to write; one that is there is replaced when the new one is whole.")],
    form: Annotated[str, typer.Option("--format", help="jsonl | csv | parquet")] = "jsonl",
    view: Annotated[
        str, typer.Option(help="Which table: requests, feedback, releases, turns, usage, ...")
    ] = "requests",
    since: Annotated[str, typer.Option(help="Only from then on: 7d, 24h, 2026-11-01 or a Unix time.")] = "",
) -> None:
    """Write a table of the ledger to a file."""
    from tokenworks.core.errors import ConfigError
    from tokenworks.ledger.sql import export as exporting

    ours: Context = context.obj
    if form not in ("jsonl", "csv", "parquet"):
        raise ConfigError(f"--format {form}: write jsonl, csv or parquet")
    wanted: Literal["jsonl", "csv", "parquet"] = form  # type: ignore[assignment]
    with _views(ours) as views:
        views.catch_up()
        count = exporting.export(views, view, out, wanted, since=since_of(since))
    ours.show({"file": str(out), "rows": count, "view": view}, f"{out}: {count} rows of {view}")


def fold(
    context: typer.Context,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Drop the tables and fold the whole log again.")] = False,
) -> None:
    """Bring the tables up to the log; after restoring a ledger from a backup, with --rebuild."""
    ours: Context = context.obj
    began = time.monotonic()
    with _views(ours) as views:
        count = views.rebuild() if rebuild else views.catch_up()
    seconds = time.monotonic() - began
    ours.show({"entries": count, "seconds": seconds}, f"{count} entries folded in {seconds:.1f} s")


def since_of(text: str) -> float | None:
    """Return the Unix time of `7d` ago, an ISO date or instant (UTC), or a Unix time; None of nothing."""
    from tokenworks.core.errors import ConfigError

    if not text:
        return None
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text):
        return time.time() - float(found[1]) * UNITS_S[found[2]]
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since {text}: write 7d, 24h, 2026-11-01, 2026-11-01T12:00:00Z or a Unix time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _views(ours: Context) -> Views:
    from tokenworks.ledger.sql.views import open_views

    settings = ours.settings
    return open_views(settings.home_path / "ledger", settings.home_path / "views", settings.catalog_url)


def _asked(views: Views, query: str, engine: str) -> Any:
    from importlib.util import find_spec

    from tokenworks.core.errors import ConfigError
    from tokenworks.ledger.sql import duck

    if engine not in ("auto", "duckdb", "database"):
        raise ConfigError(f"--engine {engine}: write auto, duckdb or database")
    has_duckdb = find_spec("duckdb") is not None and find_spec("pyarrow") is not None
    return duck.ask(views, query) if engine == "duckdb" or (engine == "auto" and has_duckdb) else views.ask(query)


def _csv(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
