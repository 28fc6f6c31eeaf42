"""`tokenworks ledger witness|cosign`: a witness on another host, and the log that asks it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tokenworks.cli.context import Context
from tokenworks.cli.ledger import group
from tokenworks.cli.verifier import VKEY, verifier


def register(_: typer.Typer) -> None:
    """Add the commands to the group `ledger`."""
    group.command()(witness)
    group.command()(cosign)


def witness(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where this witness keeps what it saw.")],
    key: Annotated[str | None, typer.Option(help=f"The log's. {VKEY}")] = None,
    name: Annotated[str, typer.Option(help="What the witness is called, when its key is made.")] = "",
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8766,
) -> None:
    """Be a witness over HTTP: cosign proofs of growth, refuse what forgets. It needs no sight of the ledger."""
    from tokenworks.ledger.witness import LOG_KEY, Witness
    from tokenworks.ledger.witness_http import WitnessServer

    ours: Context = context.obj
    known = None if key is None and (folder / LOG_KEY).exists() else verifier(ours, key)
    made = Witness(folder, known, name=name)
    server = WitnessServer(made, host, port)
    ours.show({"url": server.url, "key": str(made.public)}, f"{server.url}  verifier key {made.public}")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def cosign(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Where the witness listens.")],
    key: Annotated[str, typer.Option(help="The witness's verifier key NAME+ID+BASE64, or a file with it.")],
    every_s: Annotated[float, typer.Option("--every", help="Seconds between two looks.", min=0.05)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Ask once, then end.")] = False,
) -> None:
    """Have a witness cosign what the ledger gained; end with 4 when it has seen another past."""
    from tokenworks.core.errors import IntegrityError, StoreError
    from tokenworks.ledger.cosigning import Cosigner
    from tokenworks.ledger.witness_http import folder_name

    ours: Context = context.obj
    home, public = ours.settings.home_path, verifier(ours, key)
    cosigner = Cosigner(url, public, home / "witnesses" / folder_name(public.name)[:16])
    while True:
        try:
            grown = cosigner.cosign(home / "ledger", home / "views" / "tree")
            if grown or once:
                lines = [f"{writer}: {size} entries cosigned" for writer, size in grown.items()]
                ours.show(grown, "\n".join(lines) or "nothing new")
        except IntegrityError:
            raise
        except StoreError as error:  # the witness is away: the log goes on, and it is asked again
            if once:
                raise
            print(f"tokenworks: {error}", file=sys.stderr)
        if once:
            return
        time.sleep(every_s)
