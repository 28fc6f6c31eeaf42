"""What training does to those who are answered: p95 of serving idle, beside training, and beside training that yields.

    python benchmarks/yielding.py [--rounds 3] [--seconds 10] [--rate 25 --rate 100] [--data FOLDER]

A real `tokenworks serve` answers banking77 questions at a steady rate, open loop: a late answer delays no other
question. Beside it a real fine-tuning run of the same encoder in a session of its own: with full rank, with SCHED_IDLE
alone, and with `core.process.yield_to_traffic`. Sides take turns within a round, in an order that is reversed in
every other one. Results: benchmarks/results/yielding.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from _serving import serving

RESULTS = Path(__file__).parent / "results"
SIDES = ("idle", "training", "training at SCHED_IDLE alone", "training that yields")
HOW = dict(zip(SIDES[1:], ("plain", "policy", "yield"), strict=True))
RATES = (25.0, 100.0)  # questions a second
TASK = """
[task]
name = "{name}"
kind = "classify"
owner = "mailto:bench@example.org"
[data]
examples = "{name}.jsonl"
[model]
base = "minilm"
method = "{method}"
budget = "{budget}"
[turn]
when = "never"
"""
TRAIN = """
import os, sys
from tokenworks.core.process import yield_to_traffic
if sys.argv[1] == "yield":
    yield_to_traffic()
elif sys.argv[1] == "policy":
    os.nice(19)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
sys.argv = ["tokenworks", "--home", sys.argv[2], "train", sys.argv[3]]
from tokenworks.cli.main import main
main()
"""


def write(folder: Path, name: str, rows: Sequence[dict[str, str]], method: str, budget: str) -> Path:
    """Write a task and its examples; return the task file."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / f"{name}.toml"
    path.write_text(TASK.format(name=name, method=method, budget=budget))
    return path


@contextmanager
def beside(side: str, folder: Path, file: Path) -> Iterator[None]:
    """Run what `side` is about while inside, in a home of its own, so that nothing is known already."""
    if side == "idle":
        yield
        return
    how = HOW[side]
    home = Path(tempfile.mkdtemp(dir=folder))
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, how, str(home), str(file)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    time.sleep(8.0)  # until it trains
    assert process.poll() is None, "the training run ended before it could be measured"
    try:
        yield
        assert process.poll() is None, "the training run ended while it was measured"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def latencies(api: httpx.AsyncClient, texts: Sequence[str], rate: float, seconds: float) -> list[float]:
    """Return the latency of each question, `rate` of them a second whatever became of the one before."""
    begun = time.monotonic()

    async def ask(number: int) -> float:
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        answer = await api.post("/classify", json={"model": "route", "input": texts[number % len(texts)]})
        answer.raise_for_status()
        return time.monotonic() - due

    return list(await asyncio.gather(*(ask(number) for number in range(int(seconds * rate)))))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure every side in every round."""
    path = Path(options.data) / "instruct-eval" / "banking77" / "train.csv"
    with path.open(newline="") as file:
        rows = [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]
    home = folder / "home"
    few = [row for number, row in enumerate(rows) if not number % 4]
    command = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home), "train"]
    subprocess.run([*command, str(write(folder, "route", few, "head", "30s"))], check=True, capture_output=True)
    trained = write(folder, "trained", rows, "full", "10m")
    texts = [row["text"] for row in few]
    figures: dict[float, dict[str, list[float]]] = {rate: {side: [] for side in SIDES} for rate in options.rates}
    command = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home)]
    with serving(command) as api:
        await latencies(api, texts, min(options.rates), 3)
        for number in range(options.rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                with beside(side, folder, trained):
                    for rate in options.rates:
                        found = percentile(await latencies(api, texts, rate, options.seconds), 0.95) * 1e3
                        figures[rate][side].append(round(found, 2))
                        print(f"round {number} {side}, {rate:g}/s: p95 {found:.1f} ms", flush=True)
    return {"rates": [summary(rate, by_side) for rate, by_side in figures.items()]}


def summary(rate: float, by_side: dict[str, list[float]]) -> dict[str, Any]:
    """Return the p95 of every side at one rate: by round, median, and relative to idle."""
    medians = {side: statistics.median(found) for side, found in by_side.items()}
    ratios = {side: round(medians[side] / medians["idle"], 3) for side in SIDES[1:]}
    return {"per_s": rate, "p95_ms": medians, "rounds_ms": by_side, "ratio": ratios}


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    return {"cpu": cpu, "cores": os.cpu_count(), "os": platform.platform(), "python": platform.python_version()}


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Serving beside training",
        "",
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores. Questions at a steady rate, open loop, over",
        "HTTP through gateway and ledger; p95 by round, median and ratio to idle (bar: 1.5).",
        "",
        "| questions a second | beside it | p95 ms, by round | median | ratio |",
        "|---|---|---|---|---|",
    ]
    for one in report["rates"]:
        for side in SIDES:
            rounds = ", ".join(f"{found:.1f}" for found in one["rounds_ms"][side])
            ratio = f"{one['ratio'][side]:.2f}" if side in one["ratio"] else "1"
            lines.append(f"| {one['per_s']:g} | {side} | {rounds} | {one['p95_ms'][side]:.1f} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, action="append", dest="rates", help="questions a second; may be repeated")
    parser.add_argument("--data", default=os.environ.get("TOKENWORKS_DATA", f"{tempfile.gettempdir()}/tokenworks-data"))
    options = parser.parse_args()
    options.rates = options.rates or list(RATES)
    if not (Path(options.data) / "instruct-eval" / "banking77").is_dir():
        print(f"yielding: skipped, no banking77 below {options.data}; unpack shared/data or give --data")
        return
    with tempfile.TemporaryDirectory() as place:
        found = asyncio.run(run(options, Path(place)))
    report = {"machine": machine(), **found}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "yielding.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "yielding.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
