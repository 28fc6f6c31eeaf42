"""`tokenworks config`: what is set, whether it can be meant, and a file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tokenworks.cli.context import Context
from tokenworks.core.errors import ConflictError
from tokenworks.core.files import write_atomic

group = typer.Typer(no_args_is_help=True, help="What is set, and whether it can be meant.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="config")


@group.command()
def check(context: typer.Context) -> None:
    """Read settings file and environment; name the first thing that cannot be meant."""
    ours: Context = context.obj
    settings = ours.settings
    ours.show({"ok": True, "home": str(settings.home_path)}, f"settings are fine; home is {settings.home_path}")


@group.command()
def show(context: typer.Context) -> None:
    """Print every setting in force, as the TOML that would set it."""
    ours: Context = context.obj
    ours.show(ours.settings, as_toml(msgspec.to_builtins(ours.settings)))


@group.command()
def init(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("tokenworks.toml"),
) -> None:
    """Write a settings file with every default, ready to edit."""
    ours: Context = context.obj
    if path.exists():
        raise ConflictError(f"{path} exists; remove it or name another file")
    write_atomic(path, as_toml(msgspec.to_builtins(ours.settings)).encode())
    ours.show({"written": str(path)}, f"wrote {path}; check it with: tokenworks config check")


def as_toml(table: dict[str, object], section: str = "") -> str:
    """Return `table` as TOML; values are those that settings can have."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in plain.items()]
    text = "\n".join(lines) + "\n"
    for key, value in table.items():
        if isinstance(value, dict):
            text += f"\n[{section}{key}]\n{as_toml(value, f'{section}{key}.')}"
    return text
