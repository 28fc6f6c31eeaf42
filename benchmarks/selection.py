"""Selection over a million requests beside the physical limit: reading the log once and every kept text once.

    python benchmarks/selection.py [--requests 1000000] [--rounds 3] [--folder DIR]

A home is made with that many requests of one classify task, bodies kept, feedback on a fifth of them (four of five
right), 2,000 users. Then `select` runs as a turn calls it. Results go to benchmarks/results/selection.json and .md.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.task import Task, TaskHead
from tokenworks.flywheel.select.select import HASHED, Selection, select
from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger
from tokenworks.line.run import Runner
from tokenworks.store.artifacts import open_artifacts
from tokenworks.store.catalog import open_catalog

RESULTS = Path(__file__).parent / "results"
CLASSES, USERS, WORDS = 77, 2_000, 40
SHARE, WRONG = 0.2, 0.2
START = 1_700_000_000.0
UNTIL = START + 300 * 86_400
Row = dict[str, Any]


def question(rng: random.Random, label: int) -> str:
    """Return twelve words, half of them of the class."""
    own = [f"w{label}x{rng.randrange(WORDS)}" for _ in range(6)]
    common = [f"common{rng.randrange(3000)}" for _ in range(6)]
    return " ".join(word for pair in zip(own, common, strict=True) for word in pair)


def replies() -> list[bytes]:
    """Return an answer for each class, as the encoder engine words it."""
    made = []
    for label in range(CLASSES):
        probs = [0.6 if at == label else 0.4 / (CLASSES - 1) for at in range(CLASSES)]
        data = [{"index": 0, "label": f"class-{label}", "probs": probs, "num_classes": CLASSES}]
        usage = {"prompt_tokens": 17, "total_tokens": 17, "completion_tokens": 0}
        made.append(msgspec.json.encode({"id": "classify-1", "object": "list", "data": data, "usage": usage}))
    return made


def fill(home: Path, requests: int) -> None:
    """Write the log and the bodies."""
    rng, answers, waiting = random.Random(0), replies(), []
    with Ledger(home / "ledger", "bench") as ledger, Bodies(home / "bodies") as bodies:
        for number in range(requests):
            name, label, user = f"req-{number:026d}", rng.randrange(CLASSES), f"{rng.randrange(USERS):016x}"
            text = question(rng, label)
            answer = label if rng.random() < 0.7 else rng.randrange(CLASSES)
            bodies.put(name, msgspec.json.encode({"model": "route", "input": text}), answers[answer])
            at = START + number / 10
            waiting.append(ledger.submit(request(name, at, user)))
            if rng.random() < SHARE:
                right = label if rng.random() >= WRONG else rng.randrange(CLASSES)
                bodies.put_correction(f"fb-{number:030d}", f"class-{right}")
                waiting.append(ledger.submit(feedback(f"fb-{number:030d}", name, at + 60, user)))
            if len(waiting) >= 20_000:
                waiting.pop().result()
                waiting.clear()
        for future in waiting:
            future.result()
    rows = [{"text": question(rng, label), "label": f"class-{label}"} for label in range(CLASSES) for _ in range(10)]
    (home / "examples.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    gold = [{"text": question(rng, label), "label": f"class-{label}"} for label in range(CLASSES) for _ in range(20)]
    (home / "gold.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(gold))


def request(name: str, at: float, user: str) -> RequestEntry:
    """Return a request as the gateway records it."""
    return RequestEntry(
        at=at,
        request_id=name,
        endpoint="classify",
        outcome="ok",
        status=200,
        tenant="clinic",
        key_id="key-01jd0q3v5x",
        model="route",
        version="route@3",
        engine="encoder",
        label="internal",
        prompt_tokens=17,
        ttft_s=0.004,
        latency_s=0.004,
        salt="0" * 32,
        prompt_digest="a" * 64,
        answer_digest="b" * 64,
        user=user,
    )


def feedback(name: str, about: str, at: float, user: str) -> FeedbackEntry:
    """Return a correction as the gateway records it."""
    return FeedbackEntry(
        at=at,
        feedback_id=name,
        request_id=about,
        key_id="key-01jd0q3v5x",
        tenant="clinic",
        has_correction=True,
        salt="0" * 32,
        correction_digest="c" * 64,
        user=user,
    )


def limit(home: Path) -> Row:
    """Measure what no selection can undercut: one pass over the log, one over the bytes of the bodies."""
    start = time.perf_counter()
    entries = sum(1 for _ in read(home / "ledger"))
    log_s = time.perf_counter() - start
    start = time.perf_counter()
    size = sum(_read_bytes(path) for path in (home / "bodies").iterdir())
    return {"entries": entries, "log_s": log_s, "bodies_s": time.perf_counter() - start, "bodies_mb": size / 1e6}


def _read_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return sum(len(block) for block in iter(lambda: file.read(1 << 20), b""))


def once(home: Path) -> Row:
    """Select in this process, in a fresh place, so that nothing is known from before; return figures."""
    task = Task(task=TaskHead(name="route", kind="classify", label="internal"))
    with tempfile.TemporaryDirectory(dir=home) as fresh:
        place = Path(fresh)
        artifacts = open_artifacts(str(place / "artifacts"), cache=place / "cache")
        catalog = open_catalog(f"sqlite:///{place}/catalog.db")
        gold, earlier = artifacts.put_file(home / "gold.jsonl"), artifacts.put_file(home / "examples.jsonl")
        with Ledger(place / "own", "bench-run") as ledger, Bodies(home / "bodies") as bodies:
            runner = Runner(catalog, artifacts, ledger, place)
            start, cpu = time.perf_counter(), time.process_time()
            chosen = select(
                task,
                runner,
                home / "ledger",
                bodies,
                until=UNTIL,
                evals={"gold": gold},
                earlier=earlier,
                encoder=HASHED,
            )
            seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        catalog.close()
    return {"seconds": seconds, "cpu_s": cpu_s, "rss_mb": _peak_mb(), **_figures(chosen)}


def _figures(chosen: Selection) -> Row:
    report = chosen.report
    return {
        "rows": report.rows,
        "counts": report.counts,
        "set_aside": report.set_aside,
        "quarantined": report.quarantined,
        "culprits": len(report.culprits),
        "features": report.features,
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(requests: int, rounds: int, place: Path | None) -> Row:
    """Make the home, then measure limit and selection in turn, each selection in a process of its own."""
    with tempfile.TemporaryDirectory(dir=place, prefix="selection-") as folder:
        home = Path(folder)
        fill(home, requests)
        rows: dict[str, list[Row]] = {"limit": [], "select": []}
        for _ in range(rounds):
            rows["limit"].append(limit(home))
            done = subprocess.run([sys.executable, __file__, "--once", str(home)], check=True, capture_output=True)
            rows["select"].append(msgspec.json.decode(done.stdout.splitlines()[-1]))
    return {"machine": machine(), "requests": requests, "rounds": rounds, "rows": rows}


def machine() -> Row:
    """Describe the machine and what else it was doing."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def table(result: Row) -> str:
    """Return the result as Markdown: median (min - max)."""
    about, limits, ours = result["machine"], result["rows"]["limit"], result["rows"]["select"]
    last, least = ours[-1], _median(limits, "log_s") + _median(limits, "bodies_s")
    lines = [
        "# Selection",
        "",
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}, load "
        f"{about['load']:.1f}; {result['requests']:,} requests with bodies and {last['rows']:,} corrections, "
        f"{limits[-1]['entries']:,} ledger entries, {result['rounds']} rounds interleaved; median (min - max).",
        "",
        "| | seconds |",
        "| --- | --- |",
        f"| read the log once | {_span(limits, 'log_s')} |",
        f"| read the {limits[-1]['bodies_mb']:,.0f} MB of bodies once | {_span(limits, 'bodies_s')} |",
        f"| select | {_span(ours, 'seconds')} |",
        "",
        f"{_median(ours, 'seconds') / least:.1f} times the physical limit; {_median(ours, 'cpu_s'):.1f} s of processor "
        f"time, {_median(ours, 'rss_mb'):,.0f} MB at most. Kept {last['counts']}; set aside {last['set_aside']}; "
        f"{last['quarantined']:,} rows in quarantine, {last['culprits']} principals named; the guards looked at "
        f"{last['features']}.",
        "",
    ]
    return "\n".join(lines)


def _median(rows: list[Row], name: str) -> float:
    return float(statistics.median(row[name] for row in rows))


def _span(rows: list[Row], name: str) -> str:
    values = [row[name] for row in rows]
    return f"{statistics.median(values):.1f} ({min(values):.1f} - {max(values):.1f})"


def main() -> None:
    """Measure, write the results, show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(msgspec.json.encode(once(options.once)).decode())
        return
    result = run(options.requests, options.rounds, options.folder)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "selection.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    (RESULTS / "selection.md").write_text(table(result), encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
