"""`tokenworks compile`: the request path in machine code, for servers with much to do."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.context import Context
from tokenworks.core.compiled import MODULES, folder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compile")(compile_path)


def compile_path(
    context: typer.Context,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it: servers run the sources again.")] = False,
) -> None:
    """Compile what every request passes through; servers use it from their next start, until the sources change.

    Takes a minute or two, a C compiler and the extra 'compile'.
    """
    from tokenworks.core.compiling import make
    from tokenworks.core.compiling import remove as remove_all

    ours: Context = context.obj
    if remove:
        there = remove_all(folder())
        ours.show({"removed": there}, "removed" if there else "nothing was compiled")
        return
    made, new = make(folder())
    text = f"{len(MODULES)} modules {'compiled into' if new else 'are compiled in'} {made}"
    ours.show({"folder": str(made), "modules": len(MODULES), "new": new}, text)
