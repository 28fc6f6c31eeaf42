"""`tokenworks key`: who may ask. A secret is shown once, when it is made; only its hash is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.columns import listed
from tokenworks.core.clock import iso, seconds
from tokenworks.core.label import Label

group = typer.Typer(no_args_is_help=True, help="Who may ask.", rich_markup_mode=None)
Prefix = Annotated[str, typer.Argument(help="As `key list` shows it.")]
KEPT = "kept as a hash only; it cannot be shown again"


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="key")


@group.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    project: Annotated[str, typer.Option(help="Of this project of the tenant.")] = "",
    person: Annotated[str, typer.Option(help="Whose own it is; without one it is a service's.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="What it may do: see `person table` [repeat].")] = None,
    clearance: Annotated[str | None, typer.Option(help="Highest label it may see [default: internal].")] = None,
    days: Annotated[float | None, typer.Option(help="Days until it expires [default: never].")] = None,
) -> None:
    """Make a key and show it, this once."""
    label = None if clearance is None else Label.parse(clearance)
    with context.obj.factory() as factory:
        made = factory.new_key(
            name, tenant=tenant, clearance=label, days=days, project=project, owner=person, roles=role or ()
        )
    context.obj.show({"key": made}, f"{made}\n{KEPT}")


@group.command("list")
def list_keys(context: typer.Context) -> None:
    """List secrets by prefix with the key that each belongs to; the secrets themselves are not kept."""
    with context.obj.factory() as factory:
        keys = [key for key in factory.catalog.keys.all() if not key.parent]
    rows = [
        (
            key.prefix,
            key.name_id,
            f"{key.tenant}/{key.project}" if key.project else key.tenant,
            key.kind,
            key.clearance,
            iso(key.expires_at) if key.expires_at else "never",
            iso(key.revoked_at) if key.revoked_at else "-",
            key.name,
        )
        for key in keys
    ]
    head = ("prefix", "key", "tenant", "kind", "clearance", "expires", "ends", "name")
    context.obj.show(keys, listed(head, rows, none="there is no key yet; make one: tokenworks key new NAME"))


@group.command()
def rotate(
    context: typer.Context,
    prefix: Prefix,
    grace: Annotated[str, typer.Option(help="How long the old secret still works: 90s, 5m, 1h, 7d.")] = "1h",
) -> None:
    """Give a key a new secret and show it, this once; what limits and jobs know the key by stays the same."""
    with context.obj.factory() as factory:
        made, key = factory.rotate_key(prefix, grace_s=seconds(grace))
    context.obj.show(
        {"key": made, "id": key.name_id, "grace_s": seconds(grace)},
        f"{made}\n{KEPT}\nwhat key {key.name_id} had before works for {grace} more; to end that now: key retire PREFIX",
    )


@group.command()
def retire(context: typer.Context, prefix: Prefix) -> None:
    """End the grace of a secret that was rotated; its successor goes on."""
    with context.obj.factory() as factory:
        factory.retire_key(prefix)
    context.obj.show({"retired": prefix}, f"retired {prefix}")


@group.command()
def revoke(context: typer.Context, prefix: Prefix) -> None:
    """Make a key useless from now on, every secret of it, on every gateway of this home."""
    with context.obj.factory() as factory:
        factory.revoke_key(prefix)
    context.obj.show({"revoked": prefix}, f"revoked {prefix}")
