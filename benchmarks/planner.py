"""The planner's predictions beside measured rows, with priors alone and after one calibration point.

    python benchmarks/planner.py [--rows silicon_sample.csv] [--leave-one-out]

Rows: open measurements collected by NVIDIA for AIConfigurator (Apache-2.0). Beside the tables stand the figures that
AIConfigurator 0.12 itself reached on rows of this collection (vLLM on H100 and H200). `--leave-one-out` chooses the
constants again without each model and predicts it then: what a model nobody has seen may expect.
Results go to benchmarks/results/planner.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tokenworks.planning.rows import Row, by_deployment, predicted, read_rows
from tokenworks.planning.step import PRIORS, Priors
from tokenworks.planning.tables import Tables, read_tables

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("TOKENWORKS_DATA") or Path(tempfile.gettempdir()) / "tokenworks-data")
NODE = 8  # more devices than one server holds: other links, left out and counted
# AIConfigurator 0.12.0 offline on these rows' collection, vLLM on H100/H200: TPOT, measured for the project once.
AICONFIGURATOR = {
    "rows it predicted, 152 of 573": {"median": 0.22, "mean": 0.39, "p90": 1.04},
    "rows both could do, 122": {"median": 0.161, "mean": 0.395, "p90": 1.14},
}
Same = Callable[[Row, Row], bool]


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=Path, default=DATA / "serving-measurements" / "silicon_sample.csv")
    options.add_argument("--leave-one-out", action="store_true")
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = options.parse_args()
    tables, every = read_tables(), read_rows(chosen.rows)
    rows = [row for row in every if row.tensor * row.replicas <= NODE]
    found = measure(rows, tables)
    found["left_out_more_than_a_node"] = len(every) - len(rows)
    if chosen.leave_one_out:
        found["leave_one_model_out"] = left_out(rows, tables)
    text = "\n".join(lines(found))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "planner.json").write_text(json.dumps(found, indent=1) + "\n")
    (chosen.out / "planner.md").write_text(text + "\n")
    print(text)


def measure(rows: list[Row], tables: Tables, priors: Priors = PRIORS) -> dict[str, Any]:
    """Return the errors by kind of prediction and by group of rows."""
    groups_of, unknown = by_deployment(rows, tables)
    tpot, ttft = predicted(groups_of, len(rows), priors)
    real = np.array([row.tpot_s for row in rows])
    error = np.abs(tpot / real - 1)
    hopper = np.array([row.engine.startswith("vllm") and row.machine in ("h100_sxm", "h200_sxm") for row in rows])
    first = np.abs(ttft / np.array([row.ttft_s for row in rows]) - 1)
    groups = {
        name: {value: summary(error[[getter(row) == value for row in rows]]) for value in sorted({*map(getter, rows)})}
        for name, getter in (
            ("model", lambda row: row.model), ("machine", lambda row: row.machine),
            ("engine", lambda row: row.engine.split()[0]), ("precision", lambda row: row.precision),
        )
    }  # fmt: skip
    return {
        "unknown_models": sorted(unknown),
        "priors_alone": summary(error),
        "priors_alone_vllm_h100_h200": summary(error[hopper]),
        "priors_alone_ttft": summary(first),
        "one_point_other_concurrencies": summary(
            after_one_point(rows, tpot, real, lambda one, other: one.shape == other.shape, differ="concurrency")
        ),
        "one_point_other_shapes": summary(
            after_one_point(rows, tpot, real, lambda one, other: one.shape != other.shape, differ="shape")
        ),
        "groups": groups,
    }


def after_one_point(rows: list[Row], tpot: Any, real: Any, same: Same, *, differ: str) -> Any:
    """Return errors of all rows that `same` relates to a measured one: the middle concurrency of its deployment."""

    def key(place: int) -> tuple[Any, ...]:
        row = rows[place]
        return (*row.deployment, *(row.shape if differ == "concurrency" else ()))

    errors: list[float] = []
    known = sorted((place for place in range(len(rows)) if np.isfinite(tpot[place])), key=lambda place: str(key(place)))
    for _, group in groupby(known, key):
        places = sorted(group, key=lambda place: rows[place].concurrency)
        point = places[len(places) // 2]
        factor = real[point] / tpot[point]
        errors += [
            abs(tpot[place] * factor / real[place] - 1)
            for place in places
            if same(rows[point], rows[place])
            and (differ == "shape" or rows[place].concurrency != rows[point].concurrency)
        ]
    return np.array(errors)


def summary(errors: Any) -> dict[str, float]:
    """Return how many errors, and how large they are."""
    known = errors[np.isfinite(errors)]
    if not len(known):
        return {"n": 0}
    return {
        "n": len(known),
        "median": round(float(np.median(known)), 4),
        "mean": round(float(known.mean()), 4),
        "p90": round(float(np.quantile(known, 0.9)), 4),
        "within_25": round(float((known < 0.25).mean()), 3),
    }


def left_out(rows: list[Row], tables: Tables) -> dict[str, Any]:
    """Return errors of each model by constants chosen on the others, and of all of them together."""
    found, every = {}, []
    for model in sorted({tables_name(row, tables) for row in rows}):
        others = [row for row in rows if tables_name(row, tables) != model]
        own = [row for row in rows if tables_name(row, tables) == model]
        tpot, _ = predicted(by_deployment(own, tables)[0], len(own), chosen_on(others, tables))
        errors = np.abs(tpot / np.array([row.tpot_s for row in own]) - 1)
        found[model], every = summary(errors), [*every, *errors]
    return {"models": found, "all": summary(np.array(every))}


def tables_name(row: Row, tables: Tables) -> str:
    """Return the table's first name of the row's model, so that other names of one shape are left out together."""
    shape = tables.model(row.model)
    return next(name for name, one in tables.models.items() if one == shape)


def chosen_on(rows: list[Row], tables: Tables) -> Priors:
    """Return constants that lessen the logarithms of the ratios, far misses little, each model weighing by its root."""
    from scipy.optimize import least_squares

    names = [field.name for field in msgspec.structs.fields(Priors)][:-1]  # request_s is not of a step
    groups, _ = by_deployment(rows, tables)
    real = np.log([row.tpot_s for row in rows])
    counts = {name: sum(row.model == name for row in rows) for name in {row.model for row in rows}}
    weights = np.array([counts[row.model] ** -0.25 for row in rows])

    def misses(logs: Any) -> Any:
        priors = Priors(**dict(zip(names, np.exp(logs).tolist(), strict=True)))
        return weights * (np.log(predicted(groups, len(rows), priors)[0]) - real)

    begin, far = np.log(NEUTRAL), np.log(10)
    best = least_squares(
        misses, begin, bounds=(begin - far, begin + far), loss="soft_l1", f_scale=0.05, diff_step=0.01, max_nfev=40
    )
    # What these rows say nothing of stays where it began.
    silent = np.abs(best.jac).max(axis=0) < 1e-9
    best.x[silent] = begin[silent]
    return Priors(**dict(zip(names, np.exp(best.x).tolist(), strict=True)))


# Where the search begins, so that nothing of the priors in force (chosen on all rows) is in it.
NEUTRAL = (0.88, 0.7, 0.5, 0.7, 0.4, 4e-5, 4e-5, 8e-5, 1e-5, 5e-6, 1e-5)


def lines(found: dict[str, Any]) -> list[str]:
    """Return the tables."""
    head = ["| what is predicted | rows | median | mean | p90 | within 25 % |", "|---|---:|---:|---:|---:|---:|"]
    kinds = {
        "priors_alone": "TPOT, priors alone",
        "one_point_other_concurrencies": "TPOT at other concurrencies, one point",
        "one_point_other_shapes": "TPOT at other lengths, one point",
        "priors_alone_ttft": "TTFT, priors alone",
        "priors_alone_vllm_h100_h200": "TPOT, priors alone, vLLM on H100 and H200",
    }
    out = ["# Planner: absolute relative errors beside measured rows", "", *head]
    out += [_line(text, found[kind]) for kind, text in kinds.items()]
    for name, one in AICONFIGURATOR.items():
        out.append(f"| AIConfigurator 0.12, TPOT, vLLM on H100 and H200, {name} | | {one['median']:.1%} | "
                   f"{one['mean']:.1%} | {one['p90']:.1%} | |")  # fmt: skip
    if "leave_one_model_out" in found:
        out += ["", "Constants chosen again without the model that is predicted:", "", *head]
        out += [_line(name, one) for name, one in found["leave_one_model_out"]["models"].items()]
        out.append(_line("all of them", found["leave_one_model_out"]["all"]))
    for name, groups in found["groups"].items():
        out += ["", f"Priors alone, by {name}:", "", *head, *(_line(value, one) for value, one in groups.items())]
    unknown = ", ".join(found["unknown_models"]) or "none"
    rest = (
        f"{found['left_out_more_than_a_node']} rows on more than {NODE} devices, and all with separate prefill devices"
    )
    out += ["", f"Left out: {rest}. Models or machines that the tables lack: {unknown}."]
    return out


def _line(text: str, one: dict[str, float]) -> str:
    if not one["n"]:
        return f"| {text} | 0 | | | | |"
    figures = " | ".join(f"{one[name]:.1%}" for name in ("median", "mean", "p90", "within_25"))
    return f"| {text} | {one['n']:.0f} | {figures} |"


if __name__ == "__main__":
    main()
