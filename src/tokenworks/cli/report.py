"""`tokenworks report`: everything made so far, on one screen; `report sovereignty`: what left the site."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.context import Context

group = typer.Typer(
    invoke_without_command=True,
    help="Everything made so far, on one screen; what left the site.",
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the verb and what it reports on to the command."""
    app.add_typer(group, name="report")


@group.callback()
def report(context: typer.Context) -> None:
    """Show documents, models beside their baselines, verdicts, traffic, and where the time went."""
    from tokenworks.cli.tables import report_lines

    if context.invoked_subcommand:
        return
    ours: Context = context.obj
    with ours.factory() as factory:
        found = factory.report()
    ours.show(found, "\n".join(report_lines(found)))


@group.command()
def sovereignty(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="How far back: 30d, 12h, 2w, or a date.")] = "30d",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say which text left the site, where to and how much, or prove that none did; end with 3 where it is unknown."""
    import time

    import msgspec

    from tokenworks.cli.sovereignty import sovereignty_lines
    from tokenworks.factory.sovereignty import sovereignty_report

    ours: Context = context.obj
    ours = ours if not as_json else Context(ours.home, ours.config, as_json=True)
    found = sovereignty_report(ours.settings, since, now=time.time())
    shown = {**msgspec.to_builtins(found), "nothing_left": found.nothing_left}
    ours.show(shown, "\n".join(sovereignty_lines(found)))
    if found.unknown:
        raise typer.Exit(3)
