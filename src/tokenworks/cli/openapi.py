"""`tokenworks openapi`: what the gateway answers, as OpenAPI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tokenworks.cli.context import Context
from tokenworks.core.files import write_atomic


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="openapi")(openapi)


def openapi(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option(help="File to write [default: print it].")] = None,
) -> None:
    """Describe the gateway's API as OpenAPI 3.1; a running server answers the same at /openapi.json."""
    ours: Context = context.obj
    if output is None:
        sys.stdout.write(text())
        return
    write_atomic(output, text().encode())
    ours.show({"written": str(output)}, f"wrote {output}")


def text() -> str:
    """Return the description of a whole server."""
    import msgspec

    from tokenworks.gateway.openapi.document import DESCRIBED, describe  # not at the top: `--help` has no use for it

    return msgspec.json.format(msgspec.json.encode(describe(DESCRIBED)), indent=1).decode() + "\n"
