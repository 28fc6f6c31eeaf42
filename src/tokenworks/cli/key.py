"""`tokenworks key`: who may ask. A key is shown once, when it is made; only its hash is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.core.clock import iso
from tokenworks.core.label import Label

group = typer.Typer(no_args_is_help=True, help="Who may ask.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="key")


@group.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    clearance: Annotated[str, typer.Option(help="Highest label it may see.")] = "internal",
    days: Annotated[float | None, typer.Option(help="Days until it expires [default: never].")] = None,
) -> None:
    """Make a key and show it, this once."""
    label = Label.parse(clearance)
    with context.obj.factory() as factory:
        made = factory.new_key(name, tenant=tenant, clearance=label, days=days)
    context.obj.show({"key": made}, f"{made}\nkept as a hash only; it cannot be shown again")


@group.command("list")
def list_keys(context: typer.Context) -> None:
    """List keys by prefix; the keys themselves are not kept."""
    with context.obj.factory() as factory:
        keys = factory.catalog.keys.all()
    lines = [f"{'prefix':<14} {'tenant':<12} {'clearance':<13} {'expires':<25} {'revoked':<25} name"]
    for key in keys:
        expires = iso(key.expires_at) if key.expires_at else "never"
        revoked = iso(key.revoked_at) if key.revoked_at else "-"
        lines.append(f"{key.prefix:<14} {key.tenant:<12} {key.clearance:<13} {expires:<25} {revoked:<25} {key.name}")
    context.obj.show(keys, "\n".join(lines))


@group.command()
def revoke(context: typer.Context, prefix: Annotated[str, typer.Argument(help="As `key list` shows it.")]) -> None:
    """Make a key useless from now on, on every gateway of this home."""
    with context.obj.factory() as factory:
        factory.revoke_key(prefix)
    context.obj.show({"revoked": prefix}, f"revoked {prefix}")
