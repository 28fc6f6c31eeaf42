"""`tokenworks limit`: how much a tenant, project, key or model may have. In force within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenworks.cli.columns import listed
from tokenworks.core.errors import ConfigError
from tokenworks.core.priority import NAMES
from tokenworks.governance.limits import Limit, Subject

if TYPE_CHECKING:
    from tokenworks.factory.limiting import Standing

MOST_MONEY = 1e12
group = typer.Typer(no_args_is_help=True, help="How much anybody may have.", rich_markup_mode=None)
Tenant = Annotated[str, typer.Option(help="Of this tenant; '*': of each by itself.")]
Key = Annotated[str, typer.Option(help="Of this key, as `key list` shows it; '*': of each by itself.")]
Project = Annotated[str, typer.Option(help="Of this project of the tenant; '*': of each by itself.")]
Model = Annotated[str, typer.Option(help="For this model; '*': for each by itself.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="limit")


@group.command("set")
def set_limit(
    context: typer.Context,
    tenant: Tenant = "",
    project: Project = "",
    key: Key = "",
    model: Model = "",
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests each minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens each minute, prompt and answer.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at the same time.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Tokens each UTC day: a hard stop.")] = None,
    tokens_per_month: Annotated[int | None, typer.Option(help="Tokens each UTC month: a hard stop.")] = None,
    money_per_day: Annotated[float | None, typer.Option(help="Money each UTC day, by [prices]: a hard stop.")] = None,
    money_per_month: Annotated[float | None, typer.Option(help="Money each UTC month: a hard stop.")] = None,
    weight: Annotated[float | None, typer.Option(help="Share of full engines, where others have 1.")] = None,
    priority: Annotated[str | None, typer.Option(help=f"At most this urgent: {', '.join(NAMES)}.")] = None,
) -> None:
    """Set the limit of a tenant, a project, a key, a model, or a combination; it replaces the one that was there."""
    limit = Limit(
        subject=Subject(tenant, key, model, project),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrency=concurrency,
        tokens_per_day=tokens_per_day,
        tokens_per_month=tokens_per_month,
        money_per_day_micro=micro_of(money_per_day),
        money_per_month_micro=micro_of(money_per_month),
        weight=weight,
        priority=priority,
    )
    with context.obj.factory() as factory:
        factory.limits.set(limit)
    context.obj.show(limit, f"set for {limit.subject}: {_bounds(limit)}")


@group.command("list")
def list_limits(context: typer.Context) -> None:
    """List limits, with what the ledger says was spent of the budgets."""
    with context.obj.factory() as factory:
        standings = factory.limit_standings()
    rows = [
        (
            one.limit.subject,
            *("-" if tokens is None else tokens for tokens in (one.spent_today, one.spent_this_month)),
            f"{_bounds(one.limit)}{_money(one)}",
        )
        for one in standings
    ]
    none = "nothing is limited; set a limit: tokenworks limit set --tenant NAME --requests-per-minute 60"
    context.obj.show(standings, listed(("whose", "spent today", "this month", "limit"), rows, none=none))


@group.command()
def drop(context: typer.Context, tenant: Tenant = "", project: Project = "", key: Key = "", model: Model = "") -> None:
    """Take a limit away."""
    subject = Subject(tenant, key, model, project)
    with context.obj.factory() as factory:
        factory.limits.drop(subject)
    context.obj.show({"dropped": str(subject)}, f"dropped the limit for {subject}")


def _money(one: Standing) -> str:
    """Return what was spent in money, where that is limited."""
    spent = [
        f"{micro / 1e6:g} {when}"
        for bound, micro, when in (
            (one.limit.money_per_day_micro, one.micro_today, "today"),
            (one.limit.money_per_month_micro, one.micro_this_month, "this month"),
        )
        if bound is not None and micro is not None
    ]
    return f" (spent {', '.join(spent)})" if spent else ""


def micro_of(money: float | None) -> int | None:
    """Return a sum of money in millionths."""
    if money is not None and not abs(money) < MOST_MONEY:
        raise ConfigError(f"{money} is no sum of money; give one below {MOST_MONEY:g}")
    return None if money is None else round(money * 1e6)


def _bounds(limit: Limit) -> str:
    amounts = {name: getattr(limit, name) for name in limit.__struct_fields__ if name != "subject"}
    return ", ".join(_bound(name, amount) for name, amount in amounts.items() if amount is not None)


def _bound(name: str, amount: float | str) -> str:
    if name in ("weight", "priority"):
        return f"{name} {amount:g}" if isinstance(amount, float) else f"{name} at most {amount}"
    if name.endswith("_micro"):
        return f"{float(amount) / 1e6:g} {name.removesuffix('_micro').replace('_', ' ')}"
    return f"{amount} {name.replace('_', ' ')}"
