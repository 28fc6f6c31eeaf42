"""`tokenworks grant`: what one task may do, for a while, in the name of a key and never more than it."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.core.clock import iso, seconds
from tokenworks.core.label import Label

group = typer.Typer(no_args_is_help=True, help="What one task may do, for a while.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="grant")


@group.command()
def new(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="What it is for; policies know it by this.")],
    key: Annotated[str, typer.Option(help="The key in whose name it asks, as `key list` shows it.")],
    last: Annotated[str, typer.Option("--for", help="How long: 90s, 5m, 1h, 7d; at most 31d.")] = "1h",
    scope: Annotated[list[str] | None, typer.Option(help="What it may do [repeat; default: as its key].")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model that it may ask [repeat; default: all].")] = None,
    clearance: Annotated[str | None, typer.Option(help="Highest label it may see [default: as its key].")] = None,
) -> None:
    """Make a grant and show its secret, this once. It ends by itself, with its key, or by `grant end`."""
    from tokenworks.governance.grants import Rights

    rights = Rights(
        task=task,
        lasts_s=seconds(last),
        scopes=frozenset(scope) if scope else None,
        models=tuple(model or ()),
        clearance=None if clearance is None else Label.parse(clearance),
    )
    with context.obj.factory() as factory:
        made, kept = factory.new_grant(key, rights)
    ends = iso(kept.expires_at)
    context.obj.show(
        {"key": made, "grant": kept.prefix, "of": kept.parent, "ends_at": kept.expires_at},
        f"{made}\nfor {task!r} in the name of {kept.parent} until {ends}; kept as a hash only",
    )


@group.command("list")
def list_grants(context: typer.Context) -> None:
    """List grants with what they may do; those that have ended too."""
    with context.obj.factory() as factory:
        grants = [key for key in factory.catalog.keys.all() if key.parent]
    lines = [
        f"{'grant':<14} {'key':<14} {'tenant':<12} {'clearance':<13} {'ends':<25} {'scopes':<24} {'models':<16} task"
    ]
    for one in grants:
        ends = min(at for at in (one.expires_at, one.revoked_at) if at is not None)
        lines.append(
            f"{one.prefix:<14} {one.parent:<14} {one.tenant:<12} {one.clearance:<13} {iso(ends):<25} "
            f"{','.join(one.scopes):<24} {','.join(one.models) or 'all':<16} {one.name}"
        )
    context.obj.show(grants, "\n".join(lines))


@group.command()
def end(context: typer.Context, grant: Annotated[str, typer.Argument(help="As `grant list` shows it.")]) -> None:
    """End a grant now, on every gateway of this home; its key goes on."""
    with context.obj.factory() as factory:
        factory.end_grant(grant)
    context.obj.show({"ended": grant}, f"ended {grant}")
