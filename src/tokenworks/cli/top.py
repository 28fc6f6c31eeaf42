"""`tokenworks top`: a running server in the terminal, once or live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tokenworks.cli.context import Context

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from tokenworks.factory.top import Look, Row

TENANTS = 5
WIDTH = 140  # where nobody says how wide it is
ROOMY = 112  # from here on there is room between columns
STATES = {"ready": "green", "starting": "yellow", "restarting": "yellow", "failed": "red", "stopped": "dim"}


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(top)


def top(
    context: typer.Context,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 1.0,
    window: Annotated[float, typer.Option(help="Seconds that rates and percentiles are taken over.", min=1.0)] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="Print one table, then end.")] = False,
) -> None:
    """Show models, engines and tenants of the running server: rates, percentiles, errors. Ctrl-C ends it."""
    from tokenworks.factory.top import Top

    ours: Context = context.obj
    seen = Top(ours.settings.home_path, window_s=window)
    if ours.as_json:
        ours.show(seen.look(time.time()), "")
    elif once:
        console = ours.console
        if not console.is_terminal:  # nobody's window is that narrow: columns would be cut off
            console.width = WIDTH
        console.print(screen(seen.look(time.time()), console.width))
    else:
        _live(ours, seen.look, every)


def _live(ours: Context, look: Callable[[float], Look], every: float) -> None:
    from rich.live import Live

    console = ours.console
    with Live(screen(look(time.time()), console.width), console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                live.update(screen(look(time.time()), console.width), refresh=True)
        except KeyboardInterrupt:
            return


def screen(look: Look, width: int) -> RenderableType:
    """Return one look as tables that fit into `width` columns, from 80 on."""
    from rich.console import Group
    from rich.text import Text

    head = Text(f"{look.url}   {look.in_flight} in flight   {look.ledger_waiting} entries not durable yet   ")
    head.append(f"{look.left_site_bytes} bytes left the site", style="yellow" if look.left_site_bytes else "")
    return Group(
        head,
        Text(f"over the last {look.window_s:g} s", style="dim"),
        "",
        _rows("model", look.models, width),
        "",
        _rows("tenant", look.tenants[:TENANTS], width),
        "",
        _engines(look),
    )


def _rows(what: str, rows: Sequence[Row], width: int) -> Table:
    from rich.text import Text

    table = _table(what, width)
    heads = {"req/s": 6, "tok/s in": 6, "tok/s out": 6, "p50": 7, "p95": 7, "ttft p50": 7, "ttft p95": 7}
    for name, least in {**heads, "failed": 6, "refused": 7}.items():
        table.add_column(name, justify="right", min_width=least)
    for row in rows:
        table.add_row(
            Text(row.name),
            f"{row.requests_per_s:.2f}",
            f"{row.prompt_tokens_per_s:.1f}",
            f"{row.completion_tokens_per_s:.1f}",
            *map(_seconds, (row.latency_p50_s, row.latency_p95_s, row.ttft_p50_s, row.ttft_p95_s)),
            f"[red]{row.failed}[/]" if row.failed else "0",
            f"[yellow]{row.refused}[/]" if row.refused else "0",
        )
    return table


def _engines(look: Look) -> Table:
    table = _table("engine", ROOMY)
    table.add_column("state")
    table.add_column("restarts", justify="right")
    for one in look.engines:
        table.add_row(one.version, f"[{STATES.get(one.state, '')}]{one.state}[/]", str(one.restarts))
    return table


def _table(first: str, width: int) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", padding=(0, width >= ROOMY))
    table.add_column(first, overflow="fold")
    return table


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}\u00a0s" if value >= 1 else f"{value * 1e3:.1f}\u00a0ms"  # never on two lines
