"""`tokenworks release`, `rollback`, `withdraw`, `lineage`: what answers in production, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenworks.core.clock import iso
from tokenworks.core.errors import NotFoundError
from tokenworks.core.since import parse_moment

if TYPE_CHECKING:
    from tokenworks.core.model import Release

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
    alias: Annotated[str | None, typer.Argument(help="The task whose release it is [default: all].")] = None,
    at: Annotated[str | None, typer.Option(help="An instant such as 2026-03-03 or 2026-03-03T12:00.")] = None,
) -> None:
    """Show what answers, and what is on trial beside it, now or at an earlier instant."""
    from tokenworks.cli.tables import unlearned_lines
    from tokenworks.factory.erasing import unlearned

    still: list[str] = []
    with context.obj.factory() as factory:
        found = [one for one in factory.catalog.releases.all_current() if alias in (None, one.alias)]
        if alias is not None and not found:
            raise NotFoundError(f"{alias!r} was never released; see: tokenworks release show")
        if at is None:
            still = unlearned_lines(unlearned(factory))
        else:
            instant = parse_moment(at, refusal=f"--at {at!r}: write a date or an instant, such as 2026-03-03T12:00")
            found = [then for one in found if (then := factory.catalog.releases.at(one.alias, instant))]
    lines = [
        f"{one.alias:<16} {one.model}@{one.version:<5} {iso(one.at)}  {one.by}: {one.reason}{_on_trial(one)}"
        for one in found
    ]
    nothing = (
        "nothing is released yet; train a task: tokenworks train FILE" if at is None else f"nothing answered at {at}"
    )
    context.obj.show(found, "\n".join([*lines, *still]) or nothing)


@group.command()
def history(context: typer.Context, alias: Alias) -> None:
    """Show every step of an alias, oldest first: releases, trials, roll-backs."""
    with context.obj.factory() as factory:
        found = factory.catalog.releases.history(alias)
    lines = [
        f"{iso(one.at)}  {one.action:<9} {one.model}@{one.version:<4} {one.by}: {one.reason}{_on_trial(one)}"
        for one in found
    ]
    context.obj.show(found, "\n".join(lines) or f"{alias!r} was never released")


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
    """Go back to the version that answered before this one; during a trial, end the trial."""
    with context.obj.factory() as factory:
        done = factory.rollback(alias, reason=reason)
    again = "goes on to be" if done.action == "end" else "is"
    what = "; the trial is over" if done.action == "end" else " again"
    context.obj.show(done, f"{done.alias} {again} answered by {done.model}@{done.version}{what}")


@group.command()
def withdraw(context: typer.Context, alias: Alias, reason: Reason = "by hand") -> None:
    """Let nothing answer for an alias any more."""
    with context.obj.factory() as factory:
        done = factory.withdraw(alias, reason=reason)
    context.obj.show(done, f"nothing answers for {done.alias} any more")


@group.command()
def canary(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="name@version")],
    share: Annotated[float, typer.Option(help="Share of the users that it answers.")] = 0.1,
    shadow: Annotated[bool, typer.Option("--shadow", help="Answer beside the incumbent, shown to nobody.")] = False,
    reason: Reason = "by hand",
) -> None:
    """Try a version on a share of the users; a running server ends the trial at the first proven harm."""
    with context.obj.factory() as factory:
        done = factory.begin_trial(ref, share=share, mode="shadow" if shadow else "canary", reason=reason)
    context.obj.show(done, f"{done.alias}: {_on_trial(done).strip()}")


@group.command()
def end(context: typer.Context, alias: Alias, reason: Reason = "by hand") -> None:
    """End the trial of an alias: the incumbent answers everybody again."""
    with context.obj.factory() as factory:
        done = factory.end_trial(alias, reason=reason)
    context.obj.show(done, f"{done.alias} is answered by {done.model}@{done.version}, for everybody")


def _on_trial(release: Release) -> str:
    if not release.canary:
        return ""
    return f"  ({release.model}@{release.canary} on trial as {release.mode}, {release.share:.0%} of the users)"


def lineage(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="name, for what is released, or name@version")],
) -> None:
    """Print the tree from a model back to its documents."""
    with context.obj.factory() as factory:
        tree, text = factory.lineage(model)
    context.obj.show(tree, text)
