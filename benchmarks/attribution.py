"""How fair the split of engine steps is: rules beside exact Shapley values, replayed on Azure's traces.

    python benchmarks/attribution.py [--groups 10] [--data FOLDER]

Seven requests of the trace come within 0.8 s to a simulated server (continuous batch, chunked prefill, roofline step
time of an H100; energy as busy time). The truth is the Shapley value over all 128 coalitions. A rule's figure is the
L1 deviation sum|x - phi| / sum(phi): half of it is the share of the energy that the wrong request pays. The rule of
the engines is `metering.attribution.split`, once with the work of each request known and once as they learn it from
their own steps (`metering.attribution.learning`). Results: benchmarks/results/attribution.json and .md.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from _attribution_simulator import MODELS, Model, Request, Step, own_s, simulate
from tokenworks.metering.attribution.learning import StepCost
from tokenworks.metering.attribution.shapley import shapley
from tokenworks.metering.attribution.split import split

RESULTS = Path(__file__).parent / "results"
COUNT, WINDOW_S = 7, 0.8
TARGET = 0.10
Rule = Callable[[Model, Sequence[Request], Sequence[Step]], list[float]]


def by_step(share: Callable[[Model, Step], list[float]]) -> Rule:
    """Return the rule that gives each step's seconds to those who were in it as `share` says."""

    def rule(model: Model, requests: Sequence[Request], steps: Sequence[Step]) -> list[float]:
        given = [0.0] * len(requests)
        for step in steps:
            for part, seconds in zip(step.parts, share(model, step), strict=True):
                given[part.request] += seconds
        return given

    return rule


def by_request(weight: Callable[[Request], float]) -> Rule:
    """Return the rule that gives everything by `weight`, whatever happened in steps."""

    def rule(model: Model, requests: Sequence[Request], steps: Sequence[Step]) -> list[float]:
        total_s, weights = sum(step.seconds for step in steps), [weight(one) for one in requests]
        return [total_s * one / sum(weights) for one in weights]

    return rule


def learned(model: Model, requests: Sequence[Request], steps: Sequence[Step]) -> list[float]:
    """Split as an engine does that has run for a while and knows no hardware."""
    cost = StepCost()
    given = [0.0] * len(requests)
    for last in (False, True):  # once to learn
        for step in steps:
            works_s = cost.works_s([(part.new, part.context) for part in step.parts], step.seconds)
            if last:
                for part, seconds in zip(step.parts, split(step.seconds, works_s), strict=True):
                    given[part.request] += seconds
    return given


RULES: dict[str, Rule] = {
    "per step: equal floor + own work": by_step(
        lambda model, step: split(step.seconds, [own_s(model, part) for part in step.parts])
    ),
    "per step: equal floor + own work, learned": learned,
    "per step: tokens": by_step(
        lambda model, step: [step.seconds * part.new / sum(one.new for one in step.parts) for part in step.parts]
    ),
    "per step: equal": by_step(lambda model, step: [step.seconds / len(step.parts)] * len(step.parts)),
    "per request: output tokens": by_request(lambda one: one.answer_tokens),
    "per request: in + 5 out": by_request(lambda one: one.prompt_tokens + 5 * one.answer_tokens),
    "per request: all tokens": by_request(lambda one: one.prompt_tokens + one.answer_tokens),
    "per request: equal": by_request(lambda one: 1.0),
}


def deviations(model: Model, requests: Sequence[Request]) -> dict[str, float]:
    """Return the L1 deviation of each rule from the Shapley values of `requests`."""

    def busy_s(members: frozenset[int]) -> float:
        return sum(step.seconds for step in simulate(model, requests, members))

    truth, steps = shapley(len(requests), busy_s), simulate(model, requests)
    total_s = sum(step.seconds for step in steps)
    found = {}
    for name, rule in RULES.items():
        given = rule(model, requests, steps)
        assert abs(sum(given) - total_s) < 1e-9 * total_s, f"{name} loses time"
        found[name] = sum(abs(one - true) for one, true in zip(given, truth, strict=True)) / total_s
    return found


def read_trace(path: Path) -> list[Request]:
    """Return the requests of one of Azure's traces."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows]
    sizes = [(int(row["ContextTokens"]), max(int(row["GeneratedTokens"]), 1)) for row in rows]
    return [Request(at - times[0], prompt, answer) for at, (prompt, answer) in zip(times, sizes, strict=True)]


def groups(trace: Sequence[Request], count: int, *, members: int = COUNT) -> list[list[Request]]:
    """Return groups of requests that follow each other in the trace, coming at random within the window."""
    rng = np.random.default_rng(7)
    made = []
    for start in rng.choice(len(trace) - members, size=count, replace=False):
        times = np.sort(rng.uniform(0, WINDOW_S, members))
        rows = trace[int(start) : int(start) + members]
        made.append(
            [Request(float(at), row.prompt_tokens, row.answer_tokens) for at, row in zip(times, rows, strict=True)]
        )
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "tokenworks-data")
    chosen = parser.parse_args()
    cases: dict[str, dict[str, list[float]]] = {}
    for model in MODELS:
        for trace in ("conv", "code"):
            requests = read_trace(chosen.data / "traces-llm" / "azure-2023" / f"{trace}_first_half.csv")
            found = [deviations(model, group) for group in groups(requests, chosen.groups)]
            cases[f"{model.name} {trace}"] = {rule: [one[rule] for one in found] for rule in RULES}
            print(f"{model.name} {trace} done", file=sys.stderr, flush=True)
    write(cases, chosen.groups)


def write(cases: dict[str, dict[str, list[float]]], count: int) -> None:
    """Keep the figures as data and as a table, and print the table."""
    lines = [
        "# Attribution: deviation from exact Shapley values",
        "",
        f"{COUNT} requests of Azure's 2023 traces within {WINDOW_S} s, {count} groups a column; mean (worst group) of",
        "sum|x - phi| / sum(phi). Simulated: energy is busy time.",
        "",
        "| rule | " + " | ".join(cases) + " |",
        "|---|" + "---:|" * len(cases),
    ]
    for rule in RULES:
        cells = [f"{statistics.mean(case[rule]):.3f} ({max(case[rule]):.3f})" for case in cases.values()]
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    means = [statistics.mean(case[rule]) for rule in list(RULES)[:2] for case in cases.values()]
    within = sum(mean <= TARGET for mean in means)
    lines += ["", f"Within {TARGET:.0%}: {within} of {len(means)} figures of the engines' rule."]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "attribution.json").write_text(json.dumps({"groups": count, "cases": cases}, indent=1) + "\n")
    (RESULTS / "attribution.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
