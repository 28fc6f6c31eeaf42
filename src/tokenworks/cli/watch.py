"""`tokenworks watch`: take in documents that changed or vanished."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tokenworks.cli.context import Context

if TYPE_CHECKING:
    from tokenworks.factory.watching import Changed


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(watch)


def watch(
    context: typer.Context,
    every: Annotated[float, typer.Option(help="Seconds between two looks; 0: look once and end.")] = 0.0,
    events_for: Annotated[
        int | None, typer.Option(hidden=True, help="Server process to give way to, and to die with.")
    ] = None,
) -> None:
    """Compare the documents of every known task with what was read; take changes into the index, and say what came."""
    from tokenworks.core.process import die_with, yield_to_traffic
    from tokenworks.factory.watching import Watcher

    ours: Context = context.obj
    if events_for is not None:
        die_with(events_for)
        yield_to_traffic()
    with ours.factory() as factory:
        watcher = Watcher(factory)
        while True:
            found = []
            for changed in watcher.look():
                found.append(changed)
                if events_for is not None:
                    _print_line(changed)
            if every <= 0:
                break
            time.sleep(every)
    ours.show(found, "\n".join(map(_line, found)) or "nothing changed")


def _line(changed: Changed) -> str:
    told = f"{changed.added} added, {changed.changed} changed, {changed.removed} removed, {changed.unchanged} the same"
    after = "; its next model is due" if changed.due else ""
    return f"{changed.task:<16} {told}  {changed.seconds:.1f} s{after}"


def _print_line(changed: Changed) -> None:
    sys.stdout.write(msgspec.json.encode(changed).decode() + "\n")
    sys.stdout.flush()
