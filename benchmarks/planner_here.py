"""The planner's predictions for the embedded engine on this machine, beside a held-back piece of a trace.

    python benchmarks/planner_here.py [--trace CSV] [--model FOLDER] [--check SECONDS] [--times N]

The engine is measured by short loads of its own (none of the trace), then a piece of the trace's busiest hour is played
and held against what was predicted; so often as `--times` says, each time measured anew. Beside it stands what the
same calibration predicts when one thing that steps wait for is left out: what explains how much.
Results go to benchmarks/results/planner-here.json and .md, with the machine's load as it was at the beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.factory.planning.here import ERROR, Here, Played, compare, measure, play
from tokenworks.planning.batching import Cost
from tokenworks.planning.simulate import simulate
from tokenworks.planning.trace import read_trace

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("TOKENWORKS_DATA") or Path(tempfile.gettempdir()) / "tokenworks-data")
Figures = dict[str, tuple[float, float]]  # name -> predicted and measured


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trace", type=Path, default=DATA / "traces-llm" / "azure-2023" / "conv_first_half.csv")
    options.add_argument("--model", type=Path, required=True)
    options.add_argument("--check", type=float, default=60.0)
    options.add_argument("--times", type=int, default=3)
    options.add_argument("--pause", type=float, default=0.0, help="seconds between two times, where others wait")
    options.add_argument("--conditions", default="", help="what else is to be known of the machine meanwhile")
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = options.parse_args()
    trace = read_trace(chosen.trace).busiest()
    found: dict[str, Any] = {"machine": _machine(chosen.conditions), "check_s": chosen.check, "times": []}
    for number in range(chosen.times):
        time.sleep(chosen.pause if number else 0.0)
        here = measure(chosen.model)
        played = play(here, trace, seconds=chosen.check, seed=number)
        found["times"].append(_one(here, played))
        print(f"{number + 1} of {chosen.times}: off by", _shares(found["times"][-1]["predicted"]["all of it"]))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "planner-here.json").write_text(json.dumps(found, indent=1) + "\n")
    (chosen.out / "planner-here.md").write_text("\n".join(lines(found)) + "\n")
    print("\n".join(lines(found)))


def without(here: Here) -> dict[str, Here]:
    """Return `here` with one thing that steps wait for left out, by its name."""
    cost, rounds = here.fitted.cost, here.fitted.rounds
    same = msgspec.structs.replace(cost, change_s=0.0)
    apart = msgspec.structs.replace(cost, serve_s=0.0, request_s=cost.serve_s)
    return {
        "all of it": here,
        "steps of another size cost no more": _changed(here, same, rounds),
        "handling holds nobody up": _changed(here, apart, rounds),
        "a request is in the next step": _changed(here, cost, 0),
        "none of the three": _changed(here, msgspec.structs.replace(apart, change_s=0.0), 0),
    }


def _changed(here: Here, cost: Cost, rounds: int) -> Here:
    fitted = msgspec.structs.replace(here.fitted, cost=cost, rounds=rounds)
    return msgspec.structs.replace(here, fitted=fitted)


def lines(found: dict[str, Any]) -> list[str]:
    """Return the tables."""
    runs = found["times"]
    names = list(runs[0]["predicted"]["all of it"])
    out = [
        "# The planner on this machine",
        "",
        f"{found['machine']}. Of each figure how far the prediction is off, median of {len(runs)} times (the bar: "
        f"{ERROR:.0%}). Each time the engine is measured by short loads, then {found['check_s']:.0f} s of the trace "
        f"are played: {runs[0]['requests']} requests, bursts of {runs[0]['burstiness']:.1f} (CV of gaps), "
        f"{runs[0]['busy']:.0%} of the time busy.",
        "",
        "| predicted with | "
        + " | ".join(name.replace("_per_s", " per s").removesuffix("_s") for name in names)
        + " |",
        "|---|" + "---:|" * len(names),
    ]
    for variant in runs[0]["predicted"]:
        off = [[run["predicted"][variant][name] for run in runs] for name in names]
        shares = [statistics.median(p / m - 1 for p, m in pairs) for pairs in off]
        out.append(f"| {variant} | " + " | ".join(f"{share:+.1%}" for share in shares) + " |")
    cells = [" ".join(f"{_off(run['predicted']['all of it'][name]):+.1%}" for run in runs) for name in names]
    out.append("| all of it, each time | " + " | ".join(cells) + " |")
    cells = [f"{statistics.median(run['predicted']['all of it'][name][1] for run in runs):.4g}" for name in names]
    out.append("| measured (s, tokens/s) | " + " | ".join(cells) + " |")
    out += ["", "Measured of the engine: " + "; ".join(_cost(run["cost"]) for run in runs) + "."]
    return out


def _one(here: Here, played: Played) -> dict[str, Any]:
    cost = here.fitted.cost
    return {
        "requests": len(played.full) + len(played.paced),
        "burstiness": played.paced.burstiness,
        "busy": simulate(played.paced, cost, here.scheduler).utilisation,
        "predicted": {name: compare(one, played).figures for name, one in without(here).items()},
        "cost": {
            "step_s": {n: cost.step_s[n] for n in (1, 4, 16, 32)},
            "prompt_s": cost.prompt_s,
            "change_s": cost.change_s,
            "serve_s": cost.serve_s,
            "rounds": here.fitted.rounds,
            "error": here.fitted.error,
            "slowed": here.fitted.slowed,
        },
    }


def _cost(cost: dict[str, Any]) -> str:
    return (
        f"a prompt token {cost['prompt_s'] * 1e6:.0f} us, another size {cost['change_s'] * 1e3:.1f} ms, handling "
        f"{cost['serve_s'] * 1e3:.1f} ms, {cost['rounds']} steps on the way in"
    )


def _shares(figures: Figures) -> str:
    return ", ".join(f"{name} {_off(pair):+.1%}" for name, pair in figures.items())


def _off(pair: tuple[float, float]) -> float:
    return pair[0] / pair[1] - 1


def _machine(conditions: str) -> str:
    models = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")}
    name = next(iter(models)).partition(": ")[2] if models else platform.machine()
    if conditions:  # a machine is named for what it does by itself
        name = "a machine not by itself"
    said = f"{name}, {len(os.sched_getaffinity(0))} cores, a load of {os.getloadavg()[0]:.1f} at the beginning"
    return f"{said} ({conditions})" if conditions else said


if __name__ == "__main__":
    main()
