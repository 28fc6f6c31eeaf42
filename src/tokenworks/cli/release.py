"""`tokenworks release`, `rollback`, `withdraw`, `lineage`: what answers in production, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from tokenworks.core.clock import iso

group = typer.Typer(no_args_is_help=True, help="What answers in production, and why.", rich_markup_mode=None)
Alias = Annotated[str, typer.Argument(help="The task whose release it is.")]
Reason = Annotated[str, typer.Option(help="Why; kept for ever.")]


def register(app: typer.Typer) -> None:
    """Add the group and `lineage` to the command."""
    app.add_typer(group, name="release")
    app.command()(lineage)


@group.command()
def show(
    context: typer.Context,
    at: Annotated[str | None, typer.Option(help="An instant such as 2026-03-03 or 2026-03-03T12:00.")] = None,
) -> None:
    """Show what answers for each alias, now or at an earlier instant."""
    from tokenworks.cli.tables import unlearned_lines
    from tokenworks.factory.erasing import unlearned

    still: list[str] = []
    with context.obj.factory() as factory:
        if at is None:
            found = factory.catalog.releases.all_current()
            still = unlearned_lines(unlearned(factory))
        else:
            instant = datetime.fromisoformat(at).timestamp()
            aliases = [release.alias for release in factory.catalog.releases.all_current()]
            found = [one for alias in aliases if (one := factory.catalog.releases.at(alias, instant))]
    lines = [f"{one.alias:<16} {one.model}@{one.version:<5} {iso(one.at)}  {one.by}: {one.reason}" for one in found]
    context.obj.show(found, "\n".join([*lines, *still]) or "nothing is released")


@group.command()
def history(context: typer.Context, alias: Alias) -> None:
    """Show every release and roll-back of an alias, oldest first."""
    with context.obj.factory() as factory:
        found = factory.catalog.releases.history(alias)
    lines = [f"{iso(one.at)}  {one.action:<9} {one.model}@{one.version:<4} {one.by}: {one.reason}" for one in found]
    context.obj.show(found, "\n".join(lines) or f"{alias} was never released")


@group.command()
def promote(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="name@version")],
    reason: Reason = "by hand",
) -> None:
    """Let a registered version answer from now on."""
    with context.obj.factory() as factory:
        done = factory.promote(ref, reason=reason)
    context.obj.show(done, f"{done.alias} is answered by {done.model}@{done.version}")


@group.command()
def rollback(context: typer.Context, alias: Alias, reason: Reason = "by hand") -> None:
    """Go back to the version that answered before this one."""
    with context.obj.factory() as factory:
        done = factory.rollback(alias, reason=reason)
    context.obj.show(done, f"{done.alias} is answered by {done.model}@{done.version} again")


@group.command()
def withdraw(context: typer.Context, alias: Alias, reason: Reason = "by hand") -> None:
    """Let nothing answer for an alias any more."""
    with context.obj.factory() as factory:
        done = factory.withdraw(alias, reason=reason)
    context.obj.show(done, f"nothing answers for {done.alias} any more")


def lineage(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="name, for what is released, or name@version")],
) -> None:
    """Print the tree from a model back to its documents."""
    with context.obj.factory() as factory:
        tree, text = factory.lineage(model)
    context.obj.show(tree, text)
