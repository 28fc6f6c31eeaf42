"""The intent stream: a model tuned on 5 examples a class lives on what its users say, and turns five times by itself.

    python benchmarks/flywheel.py [--turns 5] [--users 200] [--method head] [--budget 75s] [--data FOLDER]

banking77 (official split). Requests go over HTTP through a real `tokenworks serve`; of all requests 20 % are corrected
with the true label and 5 % with a wrong one. After each part of the stream the task turns: select, train, gate,
release. Measured outside of the factory: accuracy of whatever answers, on the official test split. Beside it, in the
same run, the same trainer on every true label of the same stream. Results: benchmarks/results/flywheel.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

import sequential
from _serving import serving

RESULTS = Path(__file__).parent / "results"
CORRECTED, MISLED = 0.20, 0.05  # of all requests
EACH, GOLD = 5, 1000
MARGIN = 0.02
TASK = """
[task]
name = "{name}"
kind = "classify"
owner = "mailto:bench@example.org"
label = "internal"
[data]
examples = "{name}.jsonl"
[model]
base = "minilm"
method = "{method}"
budget = "{budget}"
[check]
gold = "gold.jsonl"
margin = {margin}
[turn]
when = "never"
"""
Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    """Return the rows of one split."""
    with path.open(newline="") as file:
        return [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]


def divide(rows: list[Row], rng: random.Random) -> tuple[list[Row], list[Row], list[Row]]:
    """Return (5 a class to start from, a frozen gold set, the stream)."""
    rng.shuffle(rows)
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_class[row["label"]].append(row)
    first = [row for label in sorted(by_class) for row in by_class[label][:EACH]]
    rest = [row for label in sorted(by_class) for row in by_class[label][EACH:]]
    rng.shuffle(rest)
    return first, rest[:GOLD], rest[GOLD:]


def write_task(folder: Path, name: str, rows: Sequence[Row], options: argparse.Namespace) -> Path:
    """Write examples and task file; return the task file."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / f"{name}.toml"
    path.write_text(TASK.format(name=name, method=options.method, budget=options.budget, margin=MARGIN))
    return path


class Command:
    """The `tokenworks` command over one home."""

    def __init__(self, home: Path) -> None:
        self._words = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home)]

    def json(self, *words: str) -> Any:
        """Run to the end; return what it printed as JSON."""
        done = subprocess.run([*self._words, "--json", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"tokenworks {' '.join(words)} failed: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def text(self, *words: str) -> str:
        """Run to the end; return what it printed for people."""
        return subprocess.run([*self._words, *words], capture_output=True, text=True, check=True).stdout

    def serving(self) -> AbstractContextManager[httpx.AsyncClient]:
        """Serve while inside; give a client with the home's key."""
        return serving(self._words)


async def gathered(work: list[Any], at_once: int = 16) -> list[Any]:
    """Await all of `work`, some at a time."""
    room = asyncio.Semaphore(at_once)

    async def one(each: Any) -> Any:
        async with room:
            return await each

    return await asyncio.gather(*(one(each) for each in work))


async def live(api: httpx.AsyncClient, part: Sequence[Row], users: int, labels: list[str], rng: random.Random) -> int:
    """Ask every row as some user would; say the true label for 20 %, a wrong one for 5 %. Return how many failed."""
    failed = 0

    async def ask(row: Row, user: str, said: str) -> None:
        nonlocal failed
        answer = await api.post("/classify", json={"model": "intents", "input": row["text"], "user": user})
        if answer.status_code != 200:
            failed += 1
            return
        if said:
            body = {"request_id": answer.headers["x-request-id"], "correction": said, "user": user}
            (await api.post("/v1/feedback", json=body)).raise_for_status()

    work = []
    for row in part:
        draw, user, said = rng.random(), f"user-{rng.randrange(users)}", ""
        if draw < CORRECTED:
            said = row["label"]
        elif draw < CORRECTED + MISLED:
            said = rng.choice([label for label in labels if label != row["label"]])
        work.append(ask(row, user, said))
    await gathered(work)
    return failed


async def until_it_answers(api: httpx.AsyncClient, version: str) -> None:
    """Wait for the engine of a version that was promoted: the one before answers until then."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = await api.post("/classify", json={"model": "intents", "input": "hello"})
        if answer.headers.get("x-tokenworks-version") == version:
            return
        await asyncio.sleep(0.2)
    raise SystemExit(f"{version} was promoted and never answered")


async def accuracy(api: httpx.AsyncClient, model: str, rows: Sequence[Row]) -> float:
    """Return the share of `rows` that whatever answers as `model` gets right."""

    async def right(part: Sequence[Row]) -> int:
        answer = await api.post("/classify", json={"model": model, "input": [row["text"] for row in part]})
        answer.raise_for_status()
        found = [one["label"] for one in answer.json()["data"]]
        return sum(label == row["label"] for label, row in zip(found, part, strict=True))

    parts = [rows[at : at + 64] for at in range(0, len(rows), 64)]
    return sum(await gathered([right(part) for part in parts], 4)) / len(rows)


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Play the stream; return everything that was measured."""
    data = Path(options.data) / "instruct-eval" / "banking77"
    test, rng = rows_of(data / "test.csv"), random.Random(options.seed)
    first, gold, stream = divide(rows_of(data / "train.csv"), rng)
    labels = sorted({row["label"] for row in first})
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    command = Command(folder / "home")
    started = time.monotonic()
    command.json("train", str(write_task(folder, "intents", first, options)))
    train_first_s = time.monotonic() - started
    parts = [stream[at :: options.turns] for at in range(options.turns)]
    curve: list[dict[str, Any]] = []
    with command.serving() as api:
        curve.append({"turn": 0, "accuracy": await accuracy(api, "intents", test), "outcome": "first"})
        print(f"start: {curve[0]['accuracy']:.4f} on {len(test)} test questions, {len(first)} examples", flush=True)
        for number, part in enumerate(parts, 1):
            began = time.monotonic()
            failed = await live(api, part, options.users, labels, rng)
            live_s, began = time.monotonic() - began, time.monotonic()
            state = await asyncio.to_thread(command.json, "turn", "run", "intents")
            turn_s = time.monotonic() - began
            if state["outcome"] == "promoted":
                await until_it_answers(api, state["candidate"])
            found = await accuracy(api, "intents", test)
            curve.append(
                {
                    "turn": number, "accuracy": found, "outcome": state["outcome"], "requests": len(part),
                    "failed": failed, "live_s": live_s, "turn_s": turn_s,
                    "train_s": sum(one["seconds"] for one in state["tried"]), "engine_s": state["engine_s"],
                    "selected": state["selection"]["counts"], "says": state["says"],
                    "quarantined": state["selection"]["quarantined"], "payback": state["payback"],
                    "candidate": state["candidate"],
                }
            )  # fmt: skip
            print(
                f"turn {number}: {found:.4f}  {state['outcome']}  {len(part)} requests, {failed} failed, "
                f"{state['new']} selected, {curve[-1]['quarantined']} in quarantine, {turn_s:.0f} s; "
                f"{'; '.join(state['says'])}",
                flush=True,
            )
    story = command.text("turn", "show")
    print(story, flush=True)
    full = write_task(folder, "full", [*first, *stream], options)
    command.json("train", str(full))
    with command.serving() as api:
        every = await accuracy(api, "full", test)
    print(f"every true label of the same stream ({len(first) + len(stream)}): {every:.4f}", flush=True)
    return {
        "curve": curve,
        "story": story.splitlines(),
        "full": every,
        "first_train_s": train_first_s,
        "sizes": [len(first), len(gold), len(stream)],
    }


def false_promotions(curve: list[dict[str, Any]]) -> dict[str, float]:
    """Return how often equals are promoted over simulated turns, and the promotions of this stream that lost accuracy.

    Alpha is 5 % for the gate, and for the trial after it once more.
    """
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        gate = list(pool.map(sequential.gate_on_equals, range(sequential.TRIALS), chunksize=20))
        trial = list(pool.map(sequential.live, range(sequential.TRIALS), chunksize=20))
    return {
        "turns": sequential.TRIALS,
        "gate": gate.count("promote") / len(gate),
        "trial": sum(one.decision == "promote" for one in trial) / len(trial),
        "rolled_back": sum(one.decision == "roll-back" for one in trial) / len(trial),
        "here": sum(step < 0 for step in promotion_steps(curve)),
    }


def promotion_steps(curve: list[dict[str, Any]]) -> list[float]:
    """Return what each promotion changed in accuracy."""
    pairs = itertools.pairwise(curve)
    return [after["accuracy"] - before["accuracy"] for before, after in pairs if after["outcome"] == "promoted"]


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that the bar is about."""
    curve = found["curve"]
    steps = promotion_steps(curve)
    return {
        "share_of_full": curve[-1]["accuracy"] / found["full"],
        "worst_promotion": min(steps, default=0.0),
        "margin": MARGIN,
        "promotions": len(steps),
        "false_promotions": false_promotions(curve),
        "failed_requests": sum(one.get("failed", 0) for one in curve),
        "loop_cost_s": sum(one.get("train_s", 0) + one.get("engine_s", 0) for one in curve),
    }


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    return {"cpu": cpu, "cores": os.cpu_count(), "os": platform.platform(), "python": platform.python_version()}


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    sums, sizes = report["summary"], report["sizes"]
    false = sums["false_promotions"]
    lines = [
        "# Flywheel: a stream of intents",
        "",
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores. banking77: {sizes[0]} examples at the start,",
        f"{sizes[1]} frozen gold items, {sizes[2]} requests in the stream; accuracy on the official test split.",
        f"{CORRECTED:.0%} of the requests are corrected with the true label, {MISLED:.0%} with a wrong one.",
        "",
        "| turn | accuracy | verdict | train rows | quarantined | turn s | machine s | pays back in days |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in report["curve"]:
        days = (one.get("payback") or {}).get("days")
        trained = one.get("selected", {}).get("train", "-")
        lines.append(
            f"| {one['turn']} | {one['accuracy']:.4f} | {one['outcome']} | {trained} | "
            f"{one.get('quarantined', '-')} | {one.get('turn_s', 0):.0f} | "
            f"{one.get('train_s', 0) + one.get('engine_s', 0):.0f} | {f'{days:.2f}' if days else '-'} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"Full supervision on the same stream: {report['full']:.4f}; the last turn reaches "
            f"{sums['share_of_full']:.1%} of it (bar 95 %). Worst promotion {sums['worst_promotion']:+.4f} (margin "
            f"{sums['margin']:g}). {sums['failed_requests']} requests failed. The loop cost "
            f"{sums['loop_cost_s']:.0f} machine-seconds.",
            "",
            f"False promotions: {false['here']} of {sums['promotions']} here lost accuracy. Over {false['turns']:,} "
            f"simulated turns of an equal the gate promotes {false['gate']:.1%} as better (alpha 5 %); the trial, seen "
            f"after every request, rolls {false['rolled_back']:.1%} of them back and passes {false['trial']:.1%} as "
            "not worse, which they are.",
            "",
        ]
    )


def main() -> None:
    """Play, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--budget", default="75s")
    parser.add_argument("--method", default="head", choices=["head", "auto", "full"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default=os.environ.get("TOKENWORKS_DATA", f"{tempfile.gettempdir()}/tokenworks-data"))
    options = parser.parse_args()
    if not (Path(options.data) / "instruct-eval" / "banking77").is_dir():
        print(f"flywheel: skipped, no banking77 below {options.data}; unpack shared/data or give --data")
        return
    with tempfile.TemporaryDirectory() as place:
        found = asyncio.run(run(options, Path(place)))
    report = {"machine": machine(), "seed": options.seed, "method": options.method, "summary": summary(found), **found}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "flywheel.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "flywheel.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
