"""`tokenworks plan`: from traffic to a table of options, what to do, and charts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenworks.cli.context import Context

if TYPE_CHECKING:
    from tokenworks.factory.planning.here import Check, Here
    from tokenworks.planning.trace import Trace
    from tokenworks.planning.workload import Workload

CALM = 1.05  # by what loads may take longer in all than each alone on a machine that does nothing else


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(plan)


def plan(
    context: typer.Context,
    trace: Annotated[Path | None, typer.Option(help="CSV with TIMESTAMP, ContextTokens, GeneratedTokens.")] = None,
    from_ledger: Annotated[bool, typer.Option("--from-ledger", help="Plan for what this home was asked.")] = False,
    since: Annotated[str, typer.Option(help="With --from-ledger: how far back: 30d, or a date.")] = "",
    workload: Annotated[Path | None, typer.Option(help="TOML: model, targets, labels, machines, money.")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder with machines.toml or models.toml of your own.")] = None,
    charts: Annotated[Path | None, typer.Option(help="Folder for two charts, as SVG.")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="First measure an engine here for a minute.")] = False,
    engine_model: Annotated[Path | None, typer.Option(help="With --calibrate: folder of a model to measure.")] = None,
    check: Annotated[float, typer.Option(help="With --calibrate: seconds of the trace to play and compare.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what serving this traffic takes and costs: here, bought, rented, hosted, mixed. May say: do not build."""
    import msgspec

    from tokenworks.core.errors import ConfigError
    from tokenworks.planning.options import inputs
    from tokenworks.planning.report import lines
    from tokenworks.planning.report import plan as planned
    from tokenworks.planning.tables import read_tables
    from tokenworks.planning.workload import read_workload

    ours: Context = context.obj
    ours = Context(ours.home, ours.config, as_json=True) if as_json else ours
    asked = read_workload(workload)
    if (trace is None) == (not from_ledger):
        raise ConfigError("say what to plan for: --trace FILE, or --from-ledger")
    traffic, asked = _traffic(ours, trace, since, asked)
    measured, checked, text = None, None, []
    if calibrate:
        measured, checked = _here(engine_model, traffic, check)
        asked = _measured(asked, measured)
        text += calibration_lines(measured, checked)
    ours_is_measured = measured is not None and asked.model_config == measured.folder
    given = inputs(asked, traffic, read_tables(tables), measured.served if measured and ours_is_measured else None)
    made = planned(given)
    text += lines(made)
    if charts is not None:
        from tokenworks.planning.charts import draw

        text += ["", *(f"chart    {path}" for path in draw(given, made, charts))]
    shown = msgspec.to_builtins(made) | {"here": measured, "check": checked}
    ours.show(shown, "\n".join(text))


def _traffic(ours: Context, trace: Path | None, since: str, asked: Workload) -> tuple[Trace, Workload]:
    import msgspec

    from tokenworks.planning.trace import read_trace
    from tokenworks.planning.workload import with_labels

    if trace is not None:
        return read_trace(trace), asked
    from tokenworks.cli.analytics import since_of
    from tokenworks.factory.planning.traffic import ledger_traffic

    found = ledger_traffic(ours.settings.home_path / "ledger", since=since_of(since))
    asked = with_labels(asked, found.labels)
    if not asked.hosted.cached_share:
        hosted = msgspec.structs.replace(asked.hosted, cached_share=found.cached_share)
        asked = msgspec.structs.replace(asked, hosted=hosted)
    return found.trace, asked


def _here(folder: Path | None, traffic: Trace, seconds: float) -> tuple[Here, Check | None]:
    from tokenworks.core.errors import ConfigError
    from tokenworks.factory.planning.here import check, measure

    if folder is None:
        raise ConfigError("--calibrate measures a model: name its folder with --engine-model")
    here = measure(folder)
    return here, check(here, traffic.busiest(), seconds=seconds) if seconds > 0 else None


def _measured(asked: Workload, here: Here) -> Workload:
    """Plan for the measured model with what was measured, where the workload names no other."""
    import msgspec

    from tokenworks.planning.workload import Workload

    if asked.model != Workload().model or asked.model_config:
        return asked
    return msgspec.structs.replace(asked, model_config=here.folder)


def calibration_lines(here: Here, checked: Check | None) -> list[str]:
    """Return what was measured here, and how well it foretold a piece of the trace."""
    cost = here.fitted.cost
    counts = [one for one in (1, 8, 32) if one <= here.most]
    behind = 100  # tokens of each sequence: what a step costs depends on them
    seconds = {one: cost.step_s[one] + cost.context_s[one] * one * behind for one in counts}
    speed = ", ".join(f"{one} at a time {one / took:,.0f}" for one, took in seconds.items())
    out = [
        f"measured {here.folder}: tokens/s {speed}; prompts {1 / cost.prompt_s if cost.prompt_s else 0:,.0f} tokens/s; "
        f"the fit is off by {here.fitted.error:.1%} (median)"
    ]
    if here.fitted.slowed > CALM:
        out.append(f"  loads took {here.fitted.slowed - 1:.0%} longer in all than each alone: what else runs here?")
    if checked is not None:
        out.append(f"held-back piece of the trace, {checked.requests} requests in {checked.seconds:.0f} s:")
        for name, (predicted, real) in checked.figures.items():
            out.append(f"  {name:<28} predicted {predicted:9.4g}  measured {real:9.4g}  {predicted / real - 1:+.1%}")
    return [*out, ""]
