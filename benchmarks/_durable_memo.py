"""The toy line of `durable.py` on the line's own runner: a stage's result is known by the hash of what went into it.

Not run by hand: `durable.py` copies this file, edits the copy and starts it. Arguments: home, time of start, steps.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.ledger.writer import Ledger
from tokenworks.line.run import Runner
from tokenworks.store.artifacts import open_artifacts
from tokenworks.store.catalog import open_catalog

ADDS = {number: number for number in range(1, 1000)}
VERSIONS = dict.fromkeys(range(1, 1000), "1")
ORDER = list(range(1, int(sys.argv[3]) + 1))


def main(home: Path, started: float) -> None:
    """Run the steps one after the other and print what it took."""
    catalog = open_catalog(f"sqlite:///{home / 'catalog.db'}")
    artifacts = open_artifacts(str(home / "artifacts"), cache=home / "cache")
    with Ledger(home / "ledger", "toy") as ledger:
        runner = Runner(catalog, artifacts, ledger, home)
        ready_s = time.time() - started
        before = time.perf_counter()
        value = artifacts.put_bytes(b"0")
        for number in ORDER:
            value = runner.run(_stage(number, home), {"value": value}, {}, task="toy")["value"]
        seconds = time.perf_counter() - before
    _report(int(artifacts.get_bytes(value)), ready_s, seconds)


def _stage(number: int, home: Path) -> Stage:
    def step(inputs: Mapping[str, str], params: object, bench: Bench) -> Outputs:
        _mark(home, number)
        value = int(bench.artifacts.get_bytes(inputs["value"])) + ADDS[number]
        return {"value": bench.artifacts.put_bytes(b"%d" % value)}

    return Stage(f"step-{number}", VERSIONS[number], step)


def _mark(home: Path, number: int) -> None:
    with (home / "log").open("a") as log:
        log.write(f"{number} ")
    fault = home / "fault"
    if number == 3 and fault.exists():
        fault.unlink()
        os.kill(os.getpid(), 9)


def _report(result: int, ready_s: float, seconds: float) -> None:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    out = {
        "result": result,
        "ready_s": ready_s,
        "ms_per_step": 1e3 * seconds / len(ORDER),
        "resident_mb": resident / 2**20,
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
