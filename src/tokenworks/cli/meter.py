"""`tokenworks meter`: what this machine draws, by which meter, and how good that is."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.context import Context

group = typer.Typer(no_args_is_help=True, help="Show and calibrate the meter of this machine.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="meter")


@group.command()
def show(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(help="How long to look at the meter.")] = 2.0,
) -> None:
    """Print each kind of meter, whether this machine has it, and what the configured one says now."""
    from tokenworks.factory.calibrating import look

    ours: Context = context.obj
    found = look(ours.settings, seconds)
    lines = [f"{'configured' if one.configured else '':<11} {one.source:<11} {one.says}" for one in found.sources]
    if found.watts is not None:
        how = f"+- {found.error:.0%} ({found.grade}), over {found.seconds:.1f} s"
        lines += ["", f"now         {found.watts:.2f} W {how}"]
    elif found.trouble:
        lines += ["", f"now         nothing: {found.trouble}"]
    known = found.calibration
    if known.busy_w:
        lines += ["", f"calibrated  {known.idle_w:.1f} W idle, {known.busy_w:.1f} W busy, by {known.meter}"]
    else:
        lines += ["", "calibrated  not yet: tokenworks meter calibrate"]
    ours.show(found, "\n".join(lines))


@group.command()
def calibrate(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(help="How long to look at each load: longer for a coarse meter.")] = 20.0,
    idle_w: Annotated[float, typer.Option(help="Power with nothing to do, as you read it off a meter.")] = 0.0,
    busy_w: Annotated[float, typer.Option(help="Power with every core at work, read likewise.")] = 0.0,
) -> None:
    """Measure this machine idle, at half and at full load with the configured meter, or note what you read off one."""
    from tokenworks.factory.calibrating import calibrate_machine, note_calibration

    ours: Context = context.obj
    settings = ours.settings
    if idle_w or busy_w:
        found = note_calibration(settings, idle_w, busy_w)
    else:
        ours.console.print(f"keep this machine quiet for {3 * (seconds + 2):.0f} s ...", highlight=False)
        found = calibrate_machine(settings, seconds)
    ours.show(
        found,
        f"{found.idle_w:.2f} W idle, {found.busy_w:.2f} W with every core at work, by {found.meter}; "
        f"between them the line is right to {found.error:.0%}\n"
        'next: requests get joules with [meter] source = "model", or any other meter, in tokenworks.toml',
    )
