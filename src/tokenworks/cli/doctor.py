"""`tokenworks doctor`: what this machine has and lacks; `--prove` puts the whole factory to the test."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.context import Context

SIGNS = {"ok": "ok", "missing": "--", "wrong": "!!"}


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(doctor)


def doctor(
    context: typer.Context,
    prove: Annotated[bool, typer.Option("--prove", help="Run the end-to-end self-test in a throw-away home.")] = False,
) -> None:
    """Check the machine and say what to do."""
    from tokenworks.factory.doctor import examine

    ours: Context = context.obj
    found = examine(ours.settings)
    if prove:
        from tokenworks.factory.prove import prove as run

        found = run()
    lines = [
        f"{SIGNS[one.state]}  {one.name:<22} {one.says}" + (f"\n    do: {one.do}" if one.do else "") for one in found
    ]
    ours.show(found, "\n".join(lines))
    if any(one.state == "wrong" for one in found):
        raise typer.Exit(1)
