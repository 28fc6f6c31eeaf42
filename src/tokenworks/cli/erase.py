"""`tokenworks erase`: the right to be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenworks.cli.context import Context

if TYPE_CHECKING:
    from tokenworks.factory.erasing import Erased


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(erase)


def erase(
    context: typer.Context,
    user: Annotated[str, typer.Option(help="An end user, by the name that requests carried as `user`.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose user that is.")] = "default",
    request: Annotated[str, typer.Option(help="One request, by its id.")] = "",
    document: Annotated[str, typer.Option(help="A document, as SOURCE/PATH: what search gives as file_id.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would come to; change nothing.")] = False,
) -> None:
    """Make texts unreadable and gone from disk; name the models that learned them, and have their tasks turn."""
    from tokenworks.factory.reach import target_of

    ours: Context = context.obj
    target = target_of(user=user, tenant=tenant, request=request, document=document)
    with ours.factory() as factory:
        done = factory.erase(target, dry_run=dry_run)
    ours.show(done, "\n".join(erased_lines(done)))


def erased_lines(done: Erased) -> list[str]:
    """Return what an erasure came to, and what follows from it."""
    what = f"{done.requests} requests, {done.feedback} feedback entries, {done.documents} documents"
    head = f"erased     {what}" if done.erasure_id else f"to erase   {what}"
    lines = [head, f"copies     {done.artifacts} datasets and corpora made of them"]
    lines.append(f"learned by {', '.join(done.versions) or 'no model version'}")
    if done.erasure_id:
        lines.append(f"on record  {done.erasure_id}; the digests on the ledger stay provable")
    if done.released:
        turns = ", ".join(
            f"tokenworks turn {task}" for task in sorted({ref.partition("@")[0] for ref in done.released})
        )
        lines.append(f"  next: {turns}; until then {', '.join(done.released)} answers, which has learned from it")
    return lines
