"""Embeddings and classes per second beside sentence-transformers: same weights, same texts, same threads.

    python benchmarks/encoder.py [--peer PYTHON] [--rounds 5]

`--peer` names the Python of an environment with sentence-transformers, where it is not installed beside us. Rounds are
interleaved, so that a machine in a bad mood is in it for both. Results go to benchmarks/results/encoder.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import concurrent.futures
import email
import http.client
import importlib.util
import inspect
import json
import logging
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tokenworks.line.train.bases import resolve_base

RESULTS = Path(__file__).parent / "results"
WORKER = Path(__file__).parent / "_encoder_worker.py"
SOURCES = (
    argparse,
    asyncio,
    collections,
    concurrent.futures,
    email,
    http.client,
    inspect,
    logging,
    os,
    shutil,
    tarfile,
)
CLASSES = 77
COUNT = {"short": 96, "long": 32}
CASES = [(work, kind, streams) for kind in COUNT for work in ("embed", "classify") for streams in (1, 16)]


def texts() -> dict[str, list[str]]:
    """Return first lines and whole paragraphs of the standard library's docstrings, the same on every machine."""
    docs = [doc for module in SOURCES for doc in _docstrings(module)]
    short = list(dict.fromkeys(doc.splitlines()[0] for doc in docs))
    long = [" ".join(" ".join(docs[at : at + 12]).split()[:90]) for at in range(0, len(docs), 2)]
    return {"short": short[: COUNT["short"]], "long": long[: COUNT["long"]]}


def _docstrings(module: ModuleType) -> list[str]:
    things = [module, *(value for _, value in sorted(vars(module).items(), key=lambda pair: pair[0]))]
    things += [value for thing in things if inspect.isclass(thing) for _, value in sorted(vars(thing).items())]
    return [inspect.cleandoc(thing.__doc__) for thing in things if isinstance(getattr(thing, "__doc__", None), str)]


class Side:
    """A worker process."""

    def __init__(self, python: str, name: str, folder: Path) -> None:
        command = [python, str(WORKER), name, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load_s = self._read()["load_s"]

    def run(self, work: str, streams: int, rows: list[str]) -> dict[str, Any]:
        """Return seconds and a sample of the numbers."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"work": work, "streams": streams, "texts": rows}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"worker {self._process.args} has ended")

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def measure(sides: dict[str, Side], rounds: int) -> list[dict[str, Any]]:
    """Return requests per second of each side and case; the sides take turns within a round."""
    rows, rates = texts(), dict[tuple[str, str, int], dict[str, list[float]]]()
    for number in range(rounds + 1):
        for case in CASES:
            samples = []
            for name, side in sides.items():
                done = side.run(case[0], case[2], rows[case[1]])
                samples.append(np.array(done["check"]))
                if number:  # round 0 warms up
                    rates.setdefault(case, {}).setdefault(name, []).append(len(rows[case[1]]) / done["seconds"])
            assert all(np.allclose(samples[0], other, atol=0.05) for other in samples), f"the sides disagree: {case}"
    return [_row(case, found) for case, found in rates.items()]


def _row(case: tuple[str, str, int], found: dict[str, list[float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"work": case[0], "texts": case[1], "streams": case[2]}
    for name, values in found.items():
        row[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    if "peer" in found:
        row["ratio"] = statistics.median(a / b for a, b in zip(found["ours"], found["peer"], strict=True))
    return row


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "os": platform.platform(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    about = report["machine"]
    lines = [
        "# Encoder: requests per second beside sentence-transformers",
        "",
        f"{about['cpu']}, {about['cores']} cores, {about['os']}.",
        f"{report['rounds']} interleaved rounds, median (min-max). MiniLM, 2 threads each; short texts have about",
        "10 words, long ones 90. 16 streams: ours answers 16 concurrent requests of one text each; the peer is handed",
        "ready batches of 16. Ours computes in bfloat16 where the CPU has it (cosine to float32 above 0.9999), the",
        f"peer in its default float32. Loading, imports included: {report['load_s']}.",
        "",
        "| work | texts | streams | ours | sentence-transformers | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [
            f"{row[name]['median']:.0f} ({row[name]['min']:.0f}-{row[name]['max']:.0f})" for name in report["sides"]
        ]
        cells += ["not installed"] * (2 - len(cells))
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
        lines.append(f"| {row['work']} | {row['texts']} | {row['streams']} | {cells[0]} | {cells[1]} | {ratio} |")
    return "\n".join(lines) + "\n"


def classifier(folder: Path) -> None:
    """Write MiniLM with a random head: the figures do not depend on what it learnt."""
    shutil.copytree(resolve_base("minilm", Path()), folder)
    rng = np.random.default_rng(0)
    head = {"weight": rng.normal(0, 1, (CLASSES, 384)).astype(np.float32), "bias": np.zeros(CLASSES, np.float32)}
    save_file(head, folder / "head.safetensors")
    card = {"kind": "classify", "classes": [str(number) for number in range(CLASSES)]}
    (folder / "tokenworks.json").write_text(json.dumps(card))


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", default="", help="Python with sentence-transformers")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    peer = options.peer or (sys.executable if importlib.util.find_spec("sentence_transformers") else "")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        classifier(folder)
        sides = {"ours": Side(sys.executable, "ours", folder)} | ({"peer": Side(peer, "peer", folder)} if peer else {})
        rows = measure(sides, options.rounds)
        load = ", ".join(f"{name} {side.load_s:.1f} s" for name, side in sides.items())
        for side in sides.values():
            side.close()
    report = {"machine": machine(), "rounds": options.rounds, "sides": list(sides), "load_s": load, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "encoder.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "encoder.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
