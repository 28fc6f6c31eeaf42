"""How often the trial and the gate err, how soon they see harm, and how fast they are: simulated, seeded, peeked at.

Run `python benchmarks/sequential.py`; it writes `results/sequential.json` and `results/sequential.md`. The trial is
looked at after every request. A z test at a fixed level is looked at as often, on the very same requests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from durable import machine
from tokenworks.core.task import TaskCheck, TaskLimits
from tokenworks.flywheel.trial.terms import Terms
from tokenworks.flywheel.trial.trial import Trial
from tokenworks.line.evaluate.gate import decide
from tokenworks.line.evaluate.graders import accuracy
from tokenworks.line.evaluate.intervals import z_of
from tokenworks.line.evaluate.paired import paired_gain
from tokenworks.line.evaluate.report import QUADRATIC, Evaluation, Item
from tokenworks.line.evaluate.sizing import plan_items

RESULTS = Path(__file__).parent / "results"
TRIALS, REQUESTS, ALPHA = 1000, 2000, 0.05
WRONG = 0.1  # share of unsuccessful answers of the incumbent
TERMS = Terms(trial="t", incumbent="m@1", candidate="m@2", began_at=0.0, share=0.5, slow_s=1.0, longest_s=1e9)


class Life(msgspec.Struct, frozen=True):
    """What became of one simulated trial."""

    decision: str
    seen: int  # requests until then
    peeked: int  # 1 where a z test at a fixed level called the candidate worse at any look
    seconds: float


def live(
    seed: int, *, n: int = REQUESTS, worse: float = 0.0, users: int = 0, every: bool = True, **changes: Any
) -> Life:
    """Live through one trial; with `every`, slowness and failures are told beside quality."""
    terms = msgspec.structs.replace(TERMS, **changes)
    if not every:  # a monitor that is told nothing would never let anybody pass
        terms = msgspec.structs.replace(terms, slow_s=0.0)
    rng, trial = np.random.default_rng(seed), Trial.begin(terms)
    who = rng.integers(0, users, n) if users else np.arange(n)
    arms = (rng.random(users or n) < terms.share)[who]
    rates = (rng.beta(1, 9, users) if users else np.full(n, WRONG))[who] + worse * arms
    wrong, slow, failed = rng.random(n) < rates, rng.random(n) < 0.02, rng.random(n) < 0.002
    names = [f"u{one}" for one in who] if users else [""] * n
    told = zip(arms.tolist(), names, wrong.tolist(), slow.tolist(), failed.tolist(), strict=True)
    started, seen = time.perf_counter(), 0
    for canary, user, bad, late, broken in told:
        seen += 1
        arm = "candidate" if canary else "incumbent"
        more = {"slow": late, "failed": broken} if every else {"failed": False}
        if trial.observe(arm, at=seen * 10.0, user=user, success=0.0 if bad else 1.0, **more):
            break
    return Life(trial.decision, seen, peeking(arms, wrong), time.perf_counter() - started)


def at_the_margin(seed: int, *, n: int = 2000, margin: float = 0.05) -> bool:
    """Return whether a candidate that is worse by exactly the margin is ever taken for one within it.

    The monitor of quality alone, on all requests: in a trial most such candidates are rolled back before that.
    """
    rng = np.random.default_rng(seed)
    monitor = Trial.begin(msgspec.structs.replace(TERMS, margin=margin, slow_s=0.0)).monitors["quality"]
    arms, draws = (rng.random(n) < TERMS.share).tolist(), rng.random(n).tolist()
    for number, (canary, draw) in enumerate(zip(arms, draws, strict=True)):
        arm = "candidate" if canary else "incumbent"
        monitor.observe(arm, float(draw < WRONG + margin * canary), at=float(number), user="", source="")
    return monitor.passes.proven(ALPHA)


def peeking(arms: Any, wrong: Any) -> int:
    """Return 1 where a one-sided z test of two proportions says "worse" at any of the looks after 100 requests."""
    mine, theirs = np.cumsum(arms), np.cumsum(~arms)
    bad, other = np.cumsum(arms & wrong), np.cumsum(~arms & wrong)
    looks = np.arange(len(arms)) >= 100
    pooled = (bad + other) / (mine + theirs)
    error = np.sqrt(np.maximum(pooled * (1 - pooled) * (1 / np.maximum(mine, 1) + 1 / np.maximum(theirs, 1)), 1e-12))
    z = (bad / np.maximum(mine, 1) - other / np.maximum(theirs, 1)) / error
    return int(bool((z[looks] > z_of(ALPHA)).any()))


def gate_on_equals(seed: int) -> str:
    """Return what the gate says of a candidate that is the incumbent's equal, on gold and on fresh items."""
    rng = np.random.default_rng(seed)

    def one(prefix: str, n: int) -> Evaluation:
        sure = rng.beta(9, 1, n)
        right = (rng.random(n) < sure).astype(float)
        items = tuple(
            Item(id=f"{prefix}{i}", score=ok, group=f"c{i % 5}", parts={QUADRATIC: 2 * p * ok - p * p})
            for i, (ok, p) in enumerate(zip(right.tolist(), sure.tolist(), strict=True))
        )
        figures = {"accuracy": accuracy.figure(items)}
        return Evaluation(
            task="t", kind="classify", model_ref="m", metric="accuracy", figures=figures, items=items
        )  # fmt: skip

    # Independent answers are the worst case of an equal: as many items as can be are answered differently.
    check = TaskCheck(margin=0.05)
    return decide(one("g", 800), one("g", 800), check=check, limits=TaskLimits(), fresh=(one("f", 200), one("f", 200)))\
        .decision  # fmt: skip


def power(gain: float, *, margin: float = 0.02, discordant: float = 0.1, runs: int = 2000) -> float:
    """Return how often the gate shows what its plan of items was made for."""
    n, rng, shown = plan_items(margin=margin, discordant=discordant, have=0).needed, np.random.default_rng(0), 0
    for _ in range(runs):
        shares = ((discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant)
        pair = paired_gain(rng.choice([1.0, -1.0, 0.0], n, p=shares), np.ones(n), np.arange(n), alpha=ALPHA)
        shown += pair.superior if gain else pair.low > -margin
    return shown / runs


def main() -> None:
    """Simulate, and write the results."""
    started = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        lives = {
            "A/A, a gain is asked for": _many(pool, goal="better"),
            "A/A, users differ and return": _many(pool, goal="better", users=600),
            "A/A, share of 5 %": _many(pool, 300, goal="better", share=0.05, every=False),
            "5 points worse, margin of 5": _many(pool, 300, worse=0.05, margin=0.05, every=False),
            "A/A, margin of 5": _many(pool, 300, n=3000, margin=0.05, every=False),
        }
        harm = {
            f"{worse:.0%} worse": _many(pool, 40, n=40_000, worse=worse, every=False) for worse in (0.02, 0.05, 0.1)
        }
        wrongly = sum(pool.map(at_the_margin, range(TRIALS), chunksize=10)) / TRIALS
        gate = list(pool.map(gate_on_equals, range(TRIALS), chunksize=20))
    figures = {
        "trials": {name: _told(found) for name, found in (lives | harm).items()},
        "observations_per_s": sum(one.seen for one in lives["A/A, a gain is asked for"])
        / sum(one.seconds for one in lives["A/A, a gain is asked for"]),
        "exactly the margin worse, taken for within it": wrongly,
        "gate": {
            "equal models promoted": gate.count("promote") / len(gate),
            "power, not worse": power(0.0),
            "power, better": power(0.02),
        },
        "seconds": time.perf_counter() - started,
    }
    told = machine()
    (RESULTS / "sequential.json").write_text(json.dumps({"machine": told, "figures": figures}, indent=1) + "\n")
    (RESULTS / "sequential.md").write_text(_page(told, figures))
    print(_page(told, figures))


def _many(pool: ProcessPoolExecutor, trials: int = TRIALS, **changes: Any) -> list[Life]:
    return list(pool.map(partial(live, **changes), range(trials), chunksize=10))


def _told(found: Iterable[Life]) -> dict[str, float]:
    ends = list(found)
    decided = sorted(one.seen for one in ends if one.decision)
    return {
        "trials": len(ends),
        "roll-back": sum(one.decision == "roll-back" for one in ends) / len(ends),
        "promote": sum(one.decision == "promote" for one in ends) / len(ends),
        "z test with peeking says worse": sum(one.peeked for one in ends) / len(ends),
        "requests, median": float(np.median(decided)) if decided else 0.0,
        "requests, 90 %": float(np.quantile(decided, 0.9)) if decided else 0.0,
    }


def _page(told: dict[str, Any], figures: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {one['trials']} | {one['roll-back']:.1%} | {one['promote']:.1%} |"
        f" {one['z test with peeking says worse']:.1%} | {one['requests, median']:,.0f}"
        f" ({one['requests, 90 %']:,.0f}) |"
        for name, one in figures["trials"].items()
    ]
    gate = [f"| {name} | {value:.1%} |" for name, value in figures["gate"].items()]
    return "\n".join(
        [
            "# Trial and gate on simulated traffic",
            "",
            f"{told['cpu']}, {told['cores']} cores, Python {told['python']}, load {told['load']:.1f};"
            f" {figures['seconds']:.0f} s in all. alpha 5 %, incumbent 90 % right, every request looked at,"
            f" {REQUESTS:,} to 3,000 requests a trial (40,000 where there is harm).",
            "",
            "| candidate | trials | rolled back | promoted | z test, as often | requests to decide, median (90 %) |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "| gate, margin 2 points, 10 % discordant, 1,546 items | |",
            "| --- | --- |",
            *gate,
            "",
            f"Exactly the margin worse, never rolled back, {REQUESTS:,} requests: taken for within it at any look"
            f" in {figures['exactly the margin worse, taken for within it']:.1%} of {TRIALS:,} trials.",
            "",
            f"{figures['observations_per_s']:,.0f} observations/s of quality, latency and failures, one core.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
