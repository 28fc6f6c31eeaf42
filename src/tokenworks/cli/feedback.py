"""The verbs of feedback: `feedback add`, `feedback list`, `feedback import`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tokenworks.cli.context import Context

feedback = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What people say of answers: give it, import it, list it."
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(feedback, name="feedback")
    feedback.command()(add)
    feedback.command("list")(list_given)
    feedback.command("import")(import_file)


def add(
    context: typer.Context,
    request: Annotated[str, typer.Argument(help="The request's id: x-request-id of its answer.")],
    rating: Annotated[int | None, typer.Option(help="-1, 0 or 1")] = None,
    correction: Annotated[str | None, typer.Option(help="What would have been right.")] = None,
    outcome: Annotated[float | None, typer.Option(help="What became of it: 0 (failed) to 1 (succeeded).")] = None,
    preferred_over: Annotated[str | None, typer.Option(help="The request with the worse of two answers.")] = None,
    signal: Annotated[str | None, typer.Option(help="accepted | edited | regenerated")] = None,
    comment: Annotated[str | None, typer.Option(help="A remark for people.")] = None,
    user: Annotated[str | None, typer.Option(help="Whose opinion it is.")] = None,
) -> None:
    """Say what an answer was worth."""
    ours: Context = context.obj
    said: dict[str, Any] = {
        "request_id": request, "rating": rating, "correction": correction, "outcome": outcome,
        "preferred_over": preferred_over, "signal": signal, "comment": comment, "user": user,
    }  # fmt: skip
    with ours.factory() as factory:
        taken = factory.desk.take({name: value for name, value in said.items() if value is not None})
    ours.show(taken, f"{taken['id']}  on {request}")


def list_given(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="Only on answers of this task.")] = "",
    hours: Annotated[float, typer.Option(help="How far to look back.")] = 24.0,
    limit: Annotated[int, typer.Option(help="How many at most, the newest.")] = 50,
) -> None:
    """List feedback, the newest last."""
    ours: Context = context.obj
    with ours.factory() as factory:
        found = factory.desk.listing(task, time.time() - hours * 3600, limit)
    lines = [
        f"{time.strftime('%m-%d %H:%M', time.gmtime(one['created_at']))}  {one['version']:<20} {one['request_id']:<32} "
        f"{_said(one):<32} {one['by']}"
        for one in found
    ]
    ours.show(found, "\n".join(lines) or "no feedback in that time")


def import_file(
    context: typer.Context, file: Annotated[Path, typer.Argument(help="One feedback object a line, as the API takes.")]
) -> None:
    """Take feedback in bulk; what cannot be taken is named, the rest is taken. Again: nothing is taken twice."""
    ours: Context = context.obj
    with ours.factory() as factory:
        results = list(factory.desk.take_file(file))
    refused = [f"line {number}: {found}" for number, found in results if isinstance(found, str)]
    done = {"taken": len(results) - len(refused), "refused": refused}
    ours.show(done, "\n".join([f"{done['taken']} taken, {len(refused)} refused", *refused]))
    if refused:
        raise typer.Exit(1)


def _said(one: dict[str, Any]) -> str:
    parts = [
        f"{name} {one[name]}" for name in ("rating", "outcome", "signal", "preferred_over") if one[name] is not None
    ]
    return ", ".join(["correction"] * one["has_correction"] + parts) or "comment"
