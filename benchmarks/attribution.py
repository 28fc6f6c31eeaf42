"""How fair the split of engine steps is: rules beside exact Shapley values, replayed on Azure's traces.

    python benchmarks/attribution.py [--groups 40] [--learn 10] [--data FOLDER]

Seven requests of the trace come within 0.8 s to a simulated server (continuous batch, chunked prefill, roofline step
time of an H100; energy as busy time). The truth is the Shapley value over all 128 coalitions. A rule's figure is the
L1 deviation sum|x - phi| / sum(phi): half of it is the share of the energy that the wrong request pays. The rule of
the engines is `metering.attribution.split`, once with the work of each request known and once as they learn it from
steps (`metering.attribution.learning`). What is judged is held out: costs are learned from groups of the first half of
a trace, or of that of the other trace, and all rules are judged on groups of its second half. Results:
benchmarks/results/attribution.json and .md.
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
TRACES = ("conv", "code")
HELD_OUT = "per step: equal floor + own work, learned earlier"
NOISY = "per step: equal floor + own work, learned earlier from noisy steps"
NOISE, STALLED = 0.2, 0.01
ELSEWHERE = "per step: equal floor + own work, learned elsewhere"
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


def tokens_of(step: Step) -> list[tuple[int, int]]:
    """Return what an engine says of a step: new tokens and tokens read, of each request."""
    return [(part.new, part.context) for part in step.parts]


def taught(model: Model, groups: Sequence[Sequence[Request]], noise: float = 0.0) -> StepCost:
    """Return what an engine has learned that served `groups` and knows no hardware.

    With `noise` its steps took longer or shorter by so much (standard deviation of the logarithm), and one in a hundred
    ten times as long: it had lost the processor.
    """
    cost, rng = StepCost(), np.random.default_rng(11)
    for requests in groups:
        for step in simulate(model, requests):
            stalled = 10.0 if noise and rng.random() < STALLED else 1.0
            cost.works_s(tokens_of(step), step.seconds * stalled * float(np.exp(rng.normal(0.0, noise))))
    return cost


def by_learned(cost: StepCost) -> Rule:
    """Return the rule that goes by what was learned before, and learns nothing from what it judges."""
    return by_step(lambda model, step: split(step.seconds, cost.known_s(tokens_of(step), step.seconds)))


RULES: dict[str, Rule] = {
    "per step: equal floor + own work": by_step(
        lambda model, step: split(step.seconds, [own_s(model, part) for part in step.parts])
    ),
    "per step: tokens": by_step(
        lambda model, step: [step.seconds * part.new / sum(one.new for one in step.parts) for part in step.parts]
    ),
    "per step: equal": by_step(lambda model, step: [step.seconds / len(step.parts)] * len(step.parts)),
    "per request: output tokens": by_request(lambda one: one.answer_tokens),
    "per request: in + 5 out": by_request(lambda one: one.prompt_tokens + 5 * one.answer_tokens),
    "per request: all tokens": by_request(lambda one: one.prompt_tokens + one.answer_tokens),
    "per request: equal": by_request(lambda one: 1.0),
}


def deviations(model: Model, requests: Sequence[Request], rules: dict[str, Rule]) -> dict[str, float]:
    """Return the L1 deviation of each rule from the Shapley values of `requests`."""

    def busy_s(members: frozenset[int]) -> float:
        return sum(step.seconds for step in simulate(model, requests, members))

    truth, steps = shapley(len(requests), busy_s), simulate(model, requests)
    total_s = sum(step.seconds for step in steps)
    found = {}
    for name, rule in rules.items():
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
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--learn", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "tokenworks-data")
    chosen = parser.parse_args()
    halves = {}
    for trace in TRACES:
        requests = read_trace(chosen.data / "traces-llm" / "azure-2023" / f"{trace}_first_half.csv")
        halves[trace] = requests[: len(requests) // 2], requests[len(requests) // 2 :]
    cases: dict[str, dict[str, list[float]]] = {}
    for model in MODELS:
        for trace, other in (TRACES, TRACES[::-1]):
            rules = {
                HELD_OUT: by_learned(taught(model, groups(halves[trace][0], chosen.learn))),
                NOISY: by_learned(taught(model, groups(halves[trace][0], chosen.learn), NOISE)),
                ELSEWHERE: by_learned(taught(model, groups(halves[other][0], chosen.learn))),
                **RULES,
            }
            found = [deviations(model, group, rules) for group in groups(halves[trace][1], chosen.groups)]
            cases[f"{model.name} {trace}"] = {rule: [one[rule] for one in found] for rule in rules}
            print(f"{model.name} {trace} done", file=sys.stderr, flush=True)
    write(cases, chosen.groups, chosen.learn)


def write(cases: dict[str, dict[str, list[float]]], count: int, learned: int) -> None:
    """Keep the figures as data and as a table, and print the table."""
    lines = [
        "# Attribution: deviation from exact Shapley values",
        "",
        f"{COUNT} requests of Azure's 2023 traces within {WINDOW_S} s, {count} groups a column from the second half",
        "of each trace; mean (worst group) of sum|x - phi| / sum(phi). Simulated: energy is busy time.",
        f"'Learned earlier' is from {learned} groups of the first half of the same trace, 'learned elsewhere' from as",
        "many of the other trace; neither learns from what is judged. Noisy steps took longer or shorter by "
        f"{NOISE:.0%},",
        f"and {STALLED:.0%} of them ten times as long.",
        "",
        *table("rule", cases),
    ]
    means = [statistics.mean(case[HELD_OUT]) for case in cases.values()]
    within = sum(mean <= TARGET for mean in means)
    lines += ["", f"Within {TARGET:.0%} on held-out steps: {within} of {len(means)} columns of the engines' rule."]
    RESULTS.mkdir(exist_ok=True)
    figures = {"groups": count, "learned": learned, "cases": cases}
    (RESULTS / "attribution.json").write_text(json.dumps(figures, indent=1) + "\n")
    (RESULTS / "attribution.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def table(head: str, cases: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return the lines of a table: a row for each rule, named under `head`, of mean and worst group by case."""
    lines = [f"| {head} | " + " | ".join(cases) + " |", "|---|" + "---:|" * len(cases)]
    for rule in next(iter(cases.values())):
        cells = [f"{statistics.mean(case[rule]):.3f} ({max(case[rule]):.3f})" for case in cases.values()]
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
