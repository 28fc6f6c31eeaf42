"""Write a reference page per command from the command line itself, and the API's description: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup

from tokenworks.cli.main import app
from tokenworks.cli.openapi import text as openapi
from tokenworks.core.files import write_atomic

Command = Any  # typer keeps its click to itself: the types of commands have no public name


def pages() -> dict[str, str]:
    """Return file name -> Markdown for every command, an index, and openapi.json."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    made = {f"{name}.md": _page(command, name) for name, command in sorted(root.commands.items())}
    rows = [f"| [`{name}`]({name}.md) | {_first(command)} |" for name, command in sorted(root.commands.items())]
    made["index.md"] = "# Commands\n\n| command | what it does |\n|---|---|\n" + "\n".join(rows) + "\n"
    made["openapi.json"] = openapi()
    return made


def _first(command: Command) -> str:
    return (command.help or "").strip().split("\n", 1)[0]


def _page(command: Command, name: str) -> str:
    text = f"# tokenworks {name}\n\n{_first(command)}\n\n"
    if isinstance(command, TyperGroup):
        return text + "\n".join(_usage(each, f"{name} {sub}", 2) for sub, each in sorted(command.commands.items()))
    return text + _usage(command, name, 0)


def _usage(command: Command, name: str, level: int) -> str:
    context = typer.Context(command, info_name=f"tokenworks {name}")
    head = f"{'#' * level} tokenworks {name}\n\n{_first(command)}\n\n" if level else ""
    words = " ".join([f"tokenworks {name}", *command.collect_usage_pieces(context)])
    rows = [
        f"| `{record[0]}` | {record[1].replace('|', '/')} |"
        for parameter in command.params
        if (record := parameter.get_help_record(context)) is not None and record[0] != "-h, --help"
    ]
    table = "| | |\n|---|---|\n" + "\n".join(rows) + "\n" if rows else ""
    return f"{head}```\n{words}\n```\n\n{table}"


def main() -> None:
    """Write the pages into the folder named on the command line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")
    for name, text in pages().items():
        write_atomic(folder / name, text.encode())


if __name__ == "__main__":
    main()
