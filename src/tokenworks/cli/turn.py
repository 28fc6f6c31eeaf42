"""The verb of the flywheel: `turn TASK`, and what there is to see and to decide about turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tokenworks.cli.context import Context

if TYPE_CHECKING:
    from tokenworks.flywheel.turn.state import TurnState

Name = Annotated[str, typer.Argument(help="The task's name.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Which = Annotated[str, typer.Option("--task", help="The task [default: the one that has turned].")]


class _RunsByDefault(TyperGroup):
    """`turn NAME` is `turn run NAME`: a first word that is no command names a task."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


turns = typer.Typer(
    cls=_RunsByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Learn from feedback: `turn TASK` turns it now; the other commands show turns and decide about them.",
)


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.add_typer(turns, name="turn")
    for verb in (run, show, approve, decline, quarantine, pardon):
        turns.command()(verb)
    turns.command("list")(list_turns)


def run(
    context: typer.Context,
    name: Name,
    because: Annotated[str, typer.Option(help="Why, for the record.")] = "asked for",
    yield_for: Annotated[
        int | None, typer.Option(hidden=True, help="Server process to die with, and to give way to.")
    ] = None,
) -> None:
    """Take the task's open turn as far as it goes, or begin a new one: select, train, gate, trial, release."""
    from tokenworks.cli.screen import Screen

    ours: Context = context.obj
    if yield_for is not None:
        from tokenworks.core.process import die_with, yield_to_traffic

        die_with(yield_for)
        if ours.settings.flywheel.gives_way:
            yield_to_traffic()
    with ours.factory() as factory, Screen(ours.console) as screen:
        state = factory.listening(screen).turn(name, reason=because)
        _show(ours, state, factory.turn_story(state))


def show(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="Which turn [default: the last].")] = None,
    task: Which = "",
) -> None:
    """Tell the story of a turn on one screen: data, evidence, decision, cost and payback."""
    ours: Context = context.obj
    with ours.factory() as factory:
        state = factory.turns.find(task, number)
        _show(ours, state, factory.turn_story(state))


def list_turns(context: typer.Context, task: Which = "") -> None:
    """List turns, the newest last."""
    ours: Context = context.obj
    with ours.factory() as factory:
        names = [task] if task else factory.turns.tasks()
        found = [state for name in names for state in factory.turns.of(name)]
    lines = [
        f"{state.task:<16} {state.number:>4}  {state.outcome or state.step:<12} {state.candidate or '-':<20} "
        f"{state.new:>6} new  {sum(state.seconds.values()):7.1f} s  {'; '.join(state.says)[:80]}"
        for state in found
    ]
    ours.show(found, "\n".join(lines) or "nothing has turned yet; send feedback and run: tokenworks turn TASK")


def approve(context: typer.Context, name: Name, reason: Why = "approved") -> None:
    """Say yes to a turn that waits for a person."""
    _decide(context.obj, name, reason, approve=True)


def decline(context: typer.Context, name: Name, reason: Why = "declined") -> None:
    """Say no to a turn that waits for a person; the model in production stays."""
    _decide(context.obj, name, reason, approve=False)


def quarantine(context: typer.Context, name: Name) -> None:
    """List the feedback that the last turn did not dare to learn from, with the reasons."""
    ours: Context = context.obj
    with ours.factory() as factory:
        held = factory.quarantine(name)
    lines = [f"{one['feedback_id']:<36} {one['principal']:<28} {one['reason']}" for one in held]
    ours.show(held, "\n".join(lines) or f"nothing is in quarantine for {name}")


def pardon(
    context: typer.Context,
    name: Name,
    feedback: Annotated[str, typer.Option(help="Id of one feedback entry.")] = "",
    principal: Annotated[str, typer.Option(help="Or everything of one principal.")] = "",
    reason: Why = "looked at it",
) -> None:
    """Let the next turn learn from feedback that was held back."""
    ours: Context = context.obj
    with ours.factory() as factory:
        factory.pardon(name, feedback_id=feedback, principal=principal, why=reason)
    what = feedback or principal
    ours.show({"task": name, "pardoned": what}, f"{what} is trusted from the next turn of {name} on")


def _decide(ours: Context, name: str, reason: str, *, approve: bool) -> None:
    with ours.factory() as factory:
        state = factory.decide_turn(name, approve=approve, reason=reason)
        _show(ours, state, factory.turn_story(state))


def _show(ours: Context, state: TurnState, lines: list[str]) -> None:
    ours.show(state, "\n".join(lines))
