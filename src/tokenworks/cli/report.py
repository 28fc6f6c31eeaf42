"""`tokenworks report`: everything made so far, on one screen."""

from __future__ import annotations

import typer

from tokenworks.cli.context import Context


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(report)


def report(context: typer.Context) -> None:
    """Show documents, models beside their baselines, verdicts, traffic, and where the time went."""
    from tokenworks.cli.tables import report_lines

    ours: Context = context.obj
    with ours.factory() as factory:
        found = factory.report()
    ours.show(found, "\n".join(report_lines(found)))
