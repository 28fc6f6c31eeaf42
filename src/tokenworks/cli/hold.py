"""`tokenworks hold set|list|lift`, and `tokenworks ledger show`: what an administrator does on record."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.context import Context
from tokenworks.cli.ledger import group
from tokenworks.core.clock import iso

holding = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keep texts from being erased: legal holds.")


def register(app: typer.Typer) -> None:
    """Add the group, and `show` to the group `ledger`."""
    app.add_typer(holding, name="hold")
    holding.command("set")(set_hold)
    holding.command("list")(list_holds)
    holding.command()(lift)
    group.command()(show)


def set_hold(
    context: typer.Context,
    because: Annotated[str, typer.Option(help="Why: it stands on the ledger.")],
    tenant: Annotated[str, typer.Option(help="Whose texts.")] = "default",
    user: Annotated[str, typer.Option(help="Only those of this end user, as requests name it.")] = "",
) -> None:
    """Keep texts: they are neither erased nor dropped for their age until the hold is lifted."""
    from tokenworks.factory.holding import hold
    from tokenworks.factory.making import user as me

    ours: Context = context.obj
    with ours.factory() as factory:
        made = hold(factory, tenant=tenant, user=user, because=because, by=me())
    ours.show(made, f"{made.hold_id}  in force; end it: tokenworks hold lift {made.hold_id}")


def list_holds(context: typer.Context) -> None:
    """List the holds in force."""
    from tokenworks.factory.holding import holds

    ours: Context = context.obj
    with ours.factory() as factory:
        found = holds(factory)
    lines = [f"{one.hold_id}  {iso(one.since)}  {one.tenant} {one.user or '*'}  {one.because}" for one in found]
    ours.show(found, "\n".join(lines) or "no hold is in force")


def lift(
    context: typer.Context,
    hold: Annotated[str, typer.Argument(help="Its id.")],
    because: Annotated[str, typer.Option(help="Why: it stands on the ledger.")] = "",
) -> None:
    """End a hold."""
    from tokenworks.factory.holding import lift as end
    from tokenworks.factory.making import user as me

    ours: Context = context.obj
    with ours.factory() as factory:
        ended = end(factory, hold, because=because, by=me())
    ours.show(ended, f"{ended.hold_id}  lifted")


def show(
    context: typer.Context,
    request: Annotated[str, typer.Argument(help="The request's id: x-request-id of its answer.")],
    because: Annotated[str, typer.Option(help="Why you read it: it stands on the ledger.")],
    tenant: Annotated[str | None, typer.Option(help="Whose request, where two tenants chose one id.")] = None,
) -> None:
    """Show what was asked and answered. That you were shown it is an entry, written first."""
    from tokenworks.factory.accounting import show as shown
    from tokenworks.factory.making import user as me

    ours: Context = context.obj
    with ours.factory() as factory:
        found = shown(factory, request, tenant=tenant, because=because, by=me())
    entry = found.request
    head = f"{entry.request_id}  {iso(entry.at)}  {entry.tenant} {entry.version or entry.model}  {entry.label}"
    texts = (
        ["not kept, or erased"]
        if found.prompt is None
        else ["-- asked", found.prompt, "-- answered", str(found.answer)]
    )
    ours.show(found, "\n".join([head, *texts]))
