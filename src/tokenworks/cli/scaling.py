"""`tokenworks scaling`: how large a model to train on how much, for what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.context import Context


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(scaling)


def scaling(
    context: typer.Context,
    flops: Annotated[float, typer.Option(help="Operations that training may take, such as 1e20.")],
    unique: Annotated[float, typer.Option(help="Tokens of training data that there are; 0: enough.")] = 0.0,
    served: Annotated[float, typer.Option(help="Tokens that the model will read and write in its life.")] = 0.0,
    machine: Annotated[str, typer.Option(help="On which machine, of those of `tokenworks plan`.")] = "h100",
    devices: Annotated[int, typer.Option(help="How many of them.")] = 8,
    share: Annotated[float, typer.Option(help="Of the data sheet's speed that training reaches.")] = 0.4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Split a training budget by scaling laws: compute-optimal, with little data, for much serving."""
    from tokenworks.planning import training
    from tokenworks.planning.tables import read_tables

    ours: Context = context.obj
    ours = Context(ours.home, ours.config, as_json=True) if as_json else ours
    budgets = [training.optimal(flops)]
    budgets += [training.constrained(flops, unique)] if unique else []
    budgets += [training.served(flops, served)] if served else []
    on = read_tables().machine(machine)
    efforts = [training.effort(one.flops, on, devices, share) for one in budgets]
    shown = [{"budget": one, "effort": took} for one, took in zip(budgets, efforts, strict=True)]
    hours = ", ".join(f"{took.hours:,.1f} h" for took in efforts)
    ours.show(shown, "\n".join([*training.lines(budgets, efforts), f"on {devices} x {machine}: {hours}"]))
