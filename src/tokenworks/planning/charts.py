"""Two pictures of a plan, as SVG: what a month costs at any volume, and what speed for one costs the machine."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tokenworks.core.errors import MissingExtraError
from tokenworks.core.files import write_atomic
from tokenworks.planning.option import Option
from tokenworks.planning.options import Inputs, deployment_of, hosted_usd
from tokenworks.planning.report import Plan
from tokenworks.planning.step import tpot_s
from tokenworks.planning.volume import monthly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COST, SPEED = "cost-against-volume.svg", "throughput-against-speed.svg"


def draw(given: Inputs, made: Plan, folder: Path) -> list[Path]:
    """Write both charts into `folder`; return where they are. Raises `MissingExtraError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("charts of a plan", "charts") from None

    sized = [one for one in made.options if one.copies and one.kind != "hybrid"]
    paths = []
    for name, fill in ((COST, _costs), (SPEED, _speeds)):
        figure = Figure(figsize=(8, 5), layout="constrained")
        fill(figure.subplots(), given, sized)
        text = io.BytesIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        write_atomic(folder / name, text.getvalue())
        paths.append(folder / name)
    return paths


def _costs(axes: Axes, given: Inputs, sized: list[Option]) -> None:
    requests = np.geomspace(given.volume.requests / 100, given.volume.requests * 100, 200)
    axes.plot(requests, requests / given.volume.requests * hosted_usd(given), label="hosted API", linestyle="--")
    for one in sized:
        axes.plot(requests, monthly(given, one, requests), label=f"{one.kind}: {one.machine}")
    axes.axvline(given.volume.requests, color="grey", linewidth=0.8, label="this workload")
    axes.set(xscale="log", yscale="log", xlabel="requests a month", ylabel="USD a month", title="Cost against volume")
    axes.legend()
    axes.grid(visible=True, which="both", alpha=0.2)


def _speeds(axes: Axes, given: Inputs, sized: list[Option]) -> None:
    """The curve of InferenceX: tokens/s of a device over tokens/s of a user, a point for each number at a time."""
    prompt, answer = float(given.trace.prompt.mean()), float(given.trace.answer.mean())
    standings = [(one.machine, *deployment_of(given, one)) for one in sized]
    for place, (machine, of, factor) in enumerate(standings):
        kinds = [one.kind for one, stands in zip(sized, standings, strict=True) if stands == standings[place]]
        if standings.index(standings[place]) < place:
            continue  # bought or rented, the same machine is one curve
        most = max(min(of.most_sequences(prompt + answer), 512), 1)
        counts = np.unique(np.geomspace(1, most, 30).round())
        each = tpot_s(of, counts, prompt, answer) * factor
        label = f"{', '.join(kinds)}: {machine} x {of.devices}, {of.precision}"
        axes.plot(1 / each, counts / each / of.devices, marker=".", label=label)
    slowest = given.workload.targets.tpot_p95_s
    axes.axvline(1 / slowest, color="grey", linewidth=0.8, label=f"target: {slowest * 1e3:g} ms a token")
    axes.set(
        xlabel="answer tokens/s of one user", ylabel="answer tokens/s of one device", title="Throughput against speed"
    )
    if sized:
        axes.legend()
    axes.grid(visible=True, alpha=0.2)
