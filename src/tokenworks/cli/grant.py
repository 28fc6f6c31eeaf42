"""`tokenworks grant`: what one task may do, for a while, in the name of a key and never more than it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tokenworks.cli.columns import listed
from tokenworks.core.clock import iso, seconds
from tokenworks.core.label import Label
from tokenworks.store.nouns import Budget

if TYPE_CHECKING:
    from tokenworks.ledger.spending import Spent


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
    tokens: Annotated[int | None, typer.Option(help="Tokens in all: a hard stop.")] = None,
    money: Annotated[float | None, typer.Option(help="Money in all, by [prices]: a hard stop.")] = None,
    requests: Annotated[int | None, typer.Option(help="Requests in all: a hard stop.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests each minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens each minute, prompt and answer.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at the same time.")] = None,
) -> None:
    """Make a grant and show its secret, this once. It ends by itself, with its key, or by `grant end`.

    What it may come to counts beside every limit of its key, tenant and project, and is fixed here.
    """
    from tokenworks.cli.limit import micro_of
    from tokenworks.governance.grants import Rights

    budget = Budget(
        tokens=tokens,
        money_micro=micro_of(money),
        requests=requests,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrency=concurrency,
    )
    rights = Rights(
        task=task,
        lasts_s=seconds(last),
        scopes=frozenset(scope) if scope else None,
        models=tuple(model or ()),
        clearance=None if clearance is None else Label.parse(clearance),
        budget=budget,
    )
    with context.obj.factory() as factory:
        made, kept = factory.new_grant(key, rights)
    ends = iso(kept.expires_at)
    most = "" if kept.budget is None else f"\nat most {_bounds(kept.budget)}"
    context.obj.show(
        {
            "key": made,
            "grant": kept.prefix,
            "of": kept.parent,
            "ends_at": kept.expires_at,
            "budget": kept.budget,
        },
        f"{made}\nfor {task!r} in the name of {kept.parent} until {ends}; kept as a hash only{most}",
    )


@group.command("list")
def list_grants(context: typer.Context) -> None:
    """List grants with what they may do and what the ledger says they came to; those that have ended too."""
    with context.obj.factory() as factory:
        standings = factory.grant_standings()
    rows = [
        (
            one.prefix,
            one.parent,
            one.tenant,
            one.clearance,
            iso(min(at for at in (one.expires_at, one.revoked_at) if at is not None)),
            ",".join(one.scopes),
            ",".join(one.models) or "all",
            _came_to(one.budget, spent),
            one.name,
        )
        for one, spent in standings
    ]
    head = ("grant", "key", "tenant", "clearance", "ends", "scopes", "models", "came to", "task")
    shown = [msgspec.to_builtins(one) | {"spent": spent._asdict()} for one, spent in standings]
    none = "there is no grant yet; make one: tokenworks grant new TASK --key PREFIX --for 2h"
    context.obj.show(shown, listed(head, rows, none=none))


@group.command()
def end(context: typer.Context, grant: Annotated[str, typer.Argument(help="As `grant list` shows it.")]) -> None:
    """End a grant now, on every gateway of this home; its key goes on."""
    with context.obj.factory() as factory:
        factory.end_grant(grant)
    context.obj.show({"ended": grant}, f"ended {grant}")


def _bounds(budget: Budget) -> str:
    """Return what a grant may come to."""
    bounds = {name: amount for name, amount in msgspec.structs.asdict(budget).items() if amount is not None}
    return ", ".join(
        f"{amount / 1e6:g} money" if name == "money_micro" else f"{amount} {name.replace('_', ' ')}"
        for name, amount in bounds.items()
    )


def _came_to(budget: Budget | None, spent: Spent) -> str:
    """Return what a grant came to, of how much where that is bounded."""
    most = budget or Budget()
    of = [
        (f"{spent.tokens}", most.tokens, "tokens", 1),
        (f"{spent.micro / 1e6:g}", most.money_micro, "money", 1e6),
        (f"{spent.requests}", most.requests, "requests", 1),
    ]
    return ", ".join(
        f"{used} of {bound / unit:g} {name}" if bound is not None else f"{used} {name}"
        for used, bound, name, unit in of
        if bound is not None or name != "money"
    )
