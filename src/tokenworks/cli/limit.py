"""`tokenworks limit`: how much a tenant, a key or a model may have. In force within a second, also while serving."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.governance.limits import Limit, Subject

group = typer.Typer(no_args_is_help=True, help="How much anybody may have.", rich_markup_mode=None)
Tenant = Annotated[str, typer.Option(help="Of this tenant; '*': of each by itself.")]
Key = Annotated[str, typer.Option(help="Of this key, as `key list` shows it; '*': of each by itself.")]
Model = Annotated[str, typer.Option(help="For this model; '*': for each by itself.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="limit")


@group.command("set")
def set_limit(
    context: typer.Context,
    tenant: Tenant = "",
    key: Key = "",
    model: Model = "",
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests each minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens each minute, prompt and answer.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at the same time.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Tokens each UTC day: a hard stop.")] = None,
    tokens_per_month: Annotated[int | None, typer.Option(help="Tokens each UTC month: a hard stop.")] = None,
) -> None:
    """Set the limit of a tenant, a key, a model, or a combination; it replaces the one that was there."""
    limit = Limit(
        subject=Subject(tenant, key, model),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrency=concurrency,
        tokens_per_day=tokens_per_day,
        tokens_per_month=tokens_per_month,
    )
    with context.obj.factory() as factory:
        factory.limits.set(limit)
    context.obj.show(limit, f"set for {limit.subject}: {_bounds(limit)}")


@group.command("list")
def list_limits(context: typer.Context) -> None:
    """List limits, with what the ledger says was spent of the budgets."""
    with context.obj.factory() as factory:
        standings = factory.limit_standings()
    lines = [f"{'whose':<32} {'spent today':>12} {'this month':>12}  limit"]
    for one in standings:
        spent = ["-" if tokens is None else str(tokens) for tokens in (one.spent_today, one.spent_this_month)]
        lines.append(f"{one.limit.subject!s:<32} {spent[0]:>12} {spent[1]:>12}  {_bounds(one.limit)}")
    context.obj.show(standings, "\n".join(lines))


@group.command()
def drop(context: typer.Context, tenant: Tenant = "", key: Key = "", model: Model = "") -> None:
    """Take a limit away."""
    subject = Subject(tenant, key, model)
    with context.obj.factory() as factory:
        factory.limits.drop(subject)
    context.obj.show({"dropped": str(subject)}, f"dropped the limit for {subject}")


def _bounds(limit: Limit) -> str:
    amounts = {name: getattr(limit, name) for name in limit.__struct_fields__ if name != "subject"}
    return ", ".join(f"{amount} {name.replace('_', ' ')}" for name, amount in amounts.items() if amount is not None)
