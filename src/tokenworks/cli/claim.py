"""`tokenworks claim check`: a vendor's figures, tried on one's own workload."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokenworks.cli.context import Context

group = typer.Typer(no_args_is_help=True, help="Try what somebody claims of a server.", rich_markup_mode=None)
ENDS = {"confirmed": 0, "not confirmed": 1, "not comparable": 3}


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="claim")


@group.command()
def check(
    context: typer.Context,
    claim: Annotated[Path, typer.Argument(help="TOML: the figures, their conditions, and whom to ask.")],
    out: Annotated[Path | None, typer.Option(help="Where the report is written, as Markdown to send.")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder with machines.toml or models.toml of your own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Measure what is claimed until it is known; end with 0 confirmed, 1 not confirmed, 3 not comparable."""
    from tokenworks.cli.logs import log_to_stderr
    from tokenworks.core.files import write_atomic
    from tokenworks.factory.planning.claiming import try_claim
    from tokenworks.planning.claims.claim import read_claim
    from tokenworks.planning.claims.letter import markdown
    from tokenworks.planning.tables import read_tables

    ours: Context = context.obj
    ours = Context(ours.home, ours.config, as_json=True) if as_json else ours
    log_to_stderr(ours.settings.telemetry.log)
    report = try_claim(read_claim(claim), read_tables(tables), ours.settings)
    text = markdown(report)
    if out is not None:
        write_atomic(out, text.encode())
    ours.show(report, text)
    raise typer.Exit(ENDS[report.verdict])


@group.command()
def show(context: typer.Context) -> None:
    """Print a claim file to fill in."""
    ours: Context = context.obj
    ours.show({"claim.toml": EXAMPLE}, EXAMPLE)


EXAMPLE = """\
name = "Box 9 serves 4,000 tokens/s"
by = "ACME"
source = "data sheet of 2026-10-01, page 3"

[claim]                  # what is claimed, at least one of these
tokens_per_s = 4000      # at least
# ttft_p95_s = 0.5       # at most, as the others
# tpot_p95_s = 0.03
# latency_p95_s = 10
# joules_per_token = 0.4
# usd_per_million = 0.30

[conditions]             # under which; ask whoever claims it
model = "llama-3.1-8b"
concurrency = 64
prompt_tokens = 1024
answer_tokens = 256
machine = "h100"
precision = "fp8"

[run]                    # whom to ask; conditions that differ from those above are named here
address = "http://127.0.0.1:8000"
# folder = "~/models/mine"     # or an engine of this machine
# prompts = "ours.jsonl"       # your own: {"prompt": "..."} on each line
# usd_per_hour = 2.35
# metered = true               # the wall meter that is configured here stands before that machine
"""
