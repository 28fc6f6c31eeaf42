"""How fair the split is where steps are not known: a server seen by its counters alone, beside exact Shapley values.

    python benchmarks/attribution_coarse.py [--groups 40] [--learn 10] [--data FOLDER]

The groups, the simulated server and the truth are those of benchmarks/attribution.py: seven requests of Azure's 2023
traces within 0.8 s, and the Shapley value over all 128 coalitions. Here nobody sees a step. The server's counters
(prompts read to the end, tokens written, steps) are looked at every so often, the gateway knows when each request was
sent and answered and its tokens, and `metering.attribution.coarse` divides what lies between: settled, as the ledger's
lines have it, and as told when the answer leaves, as the requests' entries have it. Costs of tokens are learned as in
the product, from groups of the first half of the trace, which come before those that are judged. Results:
benchmarks/results/attribution_coarse.json and .md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from _attribution_simulator import MODELS, Model, Request, Step, simulate
from attribution import COUNT, RESULTS, TARGET, TRACES, WINDOW_S, groups, read_trace, table
from tokenworks.core.usage import Usage
from tokenworks.metering.attribution.coarse.account import FarAccount, FarWork
from tokenworks.metering.attribution.coarse.counters import Count, Counters
from tokenworks.metering.attribution.coarse.interval import Request as Ended
from tokenworks.metering.attribution.coarse.meterer import FarMeterer
from tokenworks.metering.attribution.coarse.telling import Teller
from tokenworks.metering.attribution.shapley import shapley
from tokenworks.metering.opening import Meter
from tokenworks.metering.source import Sample

EVERY_S = (0.1, 0.25, 1.0, 5.0)
REST_S = 1.0  # between two groups: the server has nothing to do


class Noting(Teller):
    """Tells as the product does, and notes what became due to each request in the end, by when it began."""

    def __init__(self) -> None:
        super().__init__()
        self.due_j: dict[float, float] = {}

    def finish(self, request: Ended) -> float:
        """Note it."""
        self.due_j[request.taken.began_s] = request.due_j
        return super().finish(request)


class Replay:
    """A server in simulated time, and what stands around it. Its host's meter counts a joule a busy second."""

    grade, error, by_processor = "wall", 0.0, False

    def __init__(self, folder: Path, every_s: float, *, streamed: bool) -> None:
        self.now_s, self.busy_s = 1000.0, 0.0
        self.count, self.running = Count(), 0
        self._streamed, self._every_s, self._due_s = streamed, every_s, self.now_s + every_s
        self._arrivals: list[tuple[float, int]] = []
        self._works: dict[int, tuple[float, FarWork]] = {}
        self._noting = Noting()
        page, meter = _Page(self), Meter({"replay": self}, most_w=1e9)
        self._meterer = FarMeterer(
            "replay", page, meter, folder, interval_s=every_s, clock=self.clock, teller=self._noting
        )
        self._account = FarAccount(folder, clock=self.clock)
        self._meterer.turn()

    def clock(self) -> float:
        """Return the simulated time."""
        return self.now_s

    def read(self) -> list[Sample]:
        """Return what the meter says."""
        return [Sample("busy", self.busy_s + 1e-9 * self.now_s)]  # a counter that stands still is not believed

    def close(self) -> None:
        """Nothing is held."""

    def serve(self, model: Model, requests: Sequence[Request]) -> tuple[list[float], list[float]]:
        """Serve a group; return what became due to each request, and what each was told, in seconds."""
        came_s = self.now_s
        self._arrivals = sorted((came_s + one.at_s, at) for at, one in enumerate(requests))
        self._works, told = {}, [0.0] * len(requests)
        prompt_left = [one.prompt_tokens for one in requests]
        answer_left = [one.answer_tokens for one in requests]
        for step in simulate(model, requests):
            first_s = max(came_s + requests[part.request].at_s for part in step.parts)
            self._until(max(self.now_s, first_s), busy=0.0)
            self._until(self.now_s + step.seconds, busy=1.0)
            self._stepped(step, requests, prompt_left, answer_left, told)
        self._until(self.now_s + REST_S + 4 * self._every_s, busy=0.0)
        return [self._noting.due_j[self._works[at][0]] for at in range(len(requests))], told

    def _stepped(
        self,
        step: Step,
        requests: Sequence[Request],
        prompt_left: list[int],
        answer_left: list[int],
        told: list[float],
    ) -> None:
        read = written = 0
        for part in step.parts:
            at = part.request
            if prompt_left[at]:
                prompt_left[at] -= part.new
                if prompt_left[at]:
                    continue
                read += requests[at].prompt_tokens
                if self._streamed:
                    self._works[at][1].first()
            answer_left[at] -= 1
            written += 1
        count = self.count
        self.count = Count(count.prompt + read, 0.0, count.generated + written, count.steps + 1)
        for part in step.parts:
            at = part.request
            if not prompt_left[at] and answer_left[at] <= 0:
                usage = Usage(prompt_tokens=requests[at].prompt_tokens, completion_tokens=requests[at].answer_tokens)
                told[at] = self._works[at][1].tell(usage).joules or 0.0
                self.running -= 1

    def _until(self, end_s: float, *, busy: float) -> None:
        """Let time pass, with requests that come and looks that are due."""
        while True:
            arrival_s = self._arrivals[0][0] if self._arrivals else end_s + 1
            next_s = min(arrival_s, self._due_s, end_s)
            self.busy_s += busy * max(next_s - self.now_s, 0.0)
            self.now_s = max(self.now_s, next_s)
            if next_s == arrival_s:
                _, at = self._arrivals.pop(0)
                self._works[at] = self.now_s, self._account.begin("replay", 0)
                self.running += 1
            elif next_s == self._due_s:
                self._due_s += self._every_s
                self._meterer.turn()
            else:
                return


class _Page:
    """The server's counters."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def read(self) -> Counters:
        return Counters({(): self._replay.count}, float(self._replay.running), 1.0)


def truth(model: Model, requests: Sequence[Request]) -> list[float]:
    """Return the Shapley values of `requests`."""

    def busy_s(members: frozenset[int]) -> float:
        return sum(step.seconds for step in simulate(model, requests, members))

    return shapley(len(requests), busy_s)


def deviation(given: Sequence[float], truth: Sequence[float]) -> float:
    """Return sum|x - phi| / sum(phi)."""
    return sum(abs(one - true) for one, true in zip(given, truth, strict=True)) / sum(truth)


def judged(
    model: Model,
    learned: Sequence[Sequence[Request]],
    judge: Sequence[Sequence[Request]],
    truths: Sequence[Sequence[float]],
) -> dict[str, list[float]]:
    """Return the deviations in each group, by how often the server is looked at, and by which figure."""
    found: dict[str, list[float]] = {}
    for streamed in (True, False):
        for every_s in EVERY_S:
            with tempfile.TemporaryDirectory() as folder:
                replay = Replay(Path(folder), every_s, streamed=streamed)
                for requests in learned:
                    replay.serve(model, requests)
                pairs = [replay.serve(model, requests) for requests in judge]
            name = f"every {every_s:g} s, {'streamed' if streamed else 'whole'}"
            for figure, given in zip(("settled", "told"), zip(*pairs, strict=True), strict=True):
                found[f"{name}: {figure}"] = [deviation(*one) for one in zip(given, truths, strict=True)]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--learn", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "tokenworks-data")
    chosen = parser.parse_args()
    cases: dict[str, dict[str, list[float]]] = {}
    for trace in TRACES:
        requests = read_trace(chosen.data / "traces-llm" / "azure-2023" / f"{trace}_first_half.csv")
        earlier, later = requests[: len(requests) // 2], requests[len(requests) // 2 :]
        for model in MODELS:
            judge = groups(later, chosen.groups)
            truths = [truth(model, group) for group in judge]
            cases[f"{model.name} {trace}"] = judged(model, groups(earlier, chosen.learn), judge, truths)
            print(f"{model.name} {trace} done", file=sys.stderr, flush=True)
    write(cases, chosen.groups, chosen.learn)


def write(cases: dict[str, dict[str, list[float]]], count: int, learned: int) -> None:
    """Keep the figures as data and as a table, and print the table."""
    lines = [
        "# Attribution without steps: deviation from exact Shapley values",
        "",
        f"{COUNT} requests of Azure's 2023 traces within {WINDOW_S} s, {count} groups a column from the second half",
        "of each trace, one after the other; mean (worst group) of sum|x - phi| / sum(phi). Simulated: energy is busy",
        f"time. Costs of tokens are learned from the counters, from {learned} groups of the first half and then on.",
        "'Settled': what becomes due to each request; 'told': what it is given when its answer leaves, before that.",
        "",
        *table("looked at", cases),
    ]
    figures = [statistics.mean(found) for case in cases.values() for found in case.values()]
    within = sum(one <= TARGET for one in figures)
    lines += [
        "",
        f"Within {TARGET:.0%}, the target where steps are known: {within} of {len(figures)} means.",
    ]
    RESULTS.mkdir(exist_ok=True)
    data = {"groups": count, "learned": learned, "cases": cases}
    (RESULTS / "attribution_coarse.json").write_text(json.dumps(data, indent=1) + "\n")
    (RESULTS / "attribution_coarse.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
