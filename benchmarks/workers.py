"""What a second gateway worker brings: the same load on `tokenworks serve --workers 1` and `--workers 2`.

    python benchmarks/workers.py [--rounds 3] [--seconds 6]

Every duty is on, and a daily budget that is counted together. The upstream (C) and the load generator (wrk) share the
machine's cores with the workers: where there are too few cores for all, the figures say so. Sides take turns. Needs
`cc` and `wrk`. Results: benchmarks/results/workers.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tokenworks.factory import Factory
from tokenworks.governance.limits import Limit, Subject
from tokenworks.settings import EngineSettings, ServerSettings, Settings

HERE = Path(__file__).parent
CONNECTIONS = 64
BODY = {"model": "remote", "messages": [{"role": "user", "content": "What is the weather like?"}], "max_tokens": 16}
CASES = ((1, "plain"), (2, "plain"), (1, "budget"), (2, "budget"))


def upstream(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the upstream of benchmarks/peers.py; return its process and port."""
    program = folder / "upstream"
    subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / "_peers_upstream.c")], check=True)
    port = 18700 + os.getpid() % 1000
    return subprocess.Popen([str(program), str(port), "1", "0"], stdout=subprocess.DEVNULL), port


class Server:
    """`tokenworks serve` over a home of its own."""

    def __init__(self, folder: Path, workers: int, kind: str, port: int) -> None:
        self.home = folder / f"home-{workers}-{kind}"
        config = folder / "tokenworks.toml"
        config.write_text(
            f'[engines]\nremote_url = "http://127.0.0.1:{port}/v1"\nremote_label = "restricted"\n'
            "[ledger]\nkeep_bodies = false\n[flywheel]\nlook_s = 0.0\n"
        )
        words = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(self.home), "--config", str(config)]
        self.process = subprocess.Popen(
            [*words, "serve", "--workers", str(workers), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        told = ""
        while "Try it" not in told:
            line = self.process.stdout.readline()
            assert line, told
            told += line
        self.url = re.search(r"answers at (\S+)", told)[1]  # type: ignore[index]
        self.key = re.search(r"key\s+(\S+)", told)[1]  # type: ignore[index]
        if kind == "budget":
            with Factory(Settings(home=str(self.home), server=ServerSettings(), engines=EngineSettings())) as factory:
                factory.limits.set(Limit(subject=Subject(tenant="default"), tokens_per_day=10**12))
            time.sleep(1.5)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes."""
        state = json.loads((self.home / "workers.json").read_text())
        return [psutil.Process(one["pid"]) for one in state["workers"]]

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def load(folder: Path, server: Server, seconds: float) -> dict[str, float]:
    """Return what wrk saw, and what it cost the workers."""
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = [[{json.dumps(BODY)}]]\n"
        f"wrk.headers['Content-Type'] = 'application/json'\nwrk.headers['Authorization'] = 'Bearer {server.key}'\n"
    )
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", str(script)]
    address = f"{server.url}/v1/chat/completions"
    subprocess.run([*words, "-d1s", address], check=True, capture_output=True)
    before = [sum(one.cpu_times()[:2]) for one in server.workers()]
    began = time.monotonic()
    done = subprocess.run([*words, f"-d{seconds:g}s", address], check=True, capture_output=True, text=True).stdout
    took_s = time.monotonic() - began
    spent = [sum(one.cpu_times()[:2]) - was for one, was in zip(server.workers(), before, strict=True)]
    assert "Non-2xx" not in done, done
    requests = int(re.search(r"(\d+) requests in", done)[1])  # type: ignore[index]
    return {
        "requests_per_s": requests / took_s,
        "cores": sum(spent) / took_s,
        "requests_per_core_s": requests / sum(spent),
        "least_share": min(spent) / sum(spent),
    }


def median(rows: list[dict[str, float]], name: str) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(row[name] for row in rows)


def report(found: dict[str, list[dict[str, float]]], arguments: argparse.Namespace) -> None:
    """Write the table and what it was measured on."""
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "load": os.getloadavg()[0]}
    lines = [
        "# Gateway workers",
        "",
        f"{machine['cores']} cores shared by workers, server, upstream and load generator; {CONNECTIONS} connections, "
        f"median of {arguments.rounds} rounds of {arguments.seconds:g} s.",
        "",
        "| workers | limits | requests/s | cores used by workers | requests per core and second |",
        "|---|---|---|---|---|",
    ]
    for workers, kind in CASES:
        rows = found[f"{workers} {kind}"]
        figures = [median(rows, name) for name in ("requests_per_s", "cores", "requests_per_core_s")]
        lines.append(f"| {workers} | {kind} | {figures[0]:,.0f} | {figures[1]:.2f} | {figures[2]:,.0f} |")
    ratios: dict[str, Any] = {
        kind: statistics.median(
            two["requests_per_s"] / one["requests_per_s"]
            for one, two in zip(found[f"1 {kind}"], found[f"2 {kind}"], strict=True)
        )
        for kind in ("plain", "budget")
    }
    lines += ["", f"Two workers to one: {ratios['plain']:.2f}x, with a shared budget {ratios['budget']:.2f}x."]
    results = HERE / "results"
    (results / "workers.md").write_text("\n".join(lines) + "\n")
    whole = {"machine": machine, "ratios": ratios, "rounds": found}
    (results / "workers.json").write_text(json.dumps(whole, indent=1) + "\n")
    print("\n".join(lines))


def main() -> int:
    """Measure every case in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    missing = [name for name in ("cc", "wrk") if shutil.which(name) is None]
    if missing:
        print(f"workers: {' and '.join(missing)} must be installed (Debian: gcc, wrk)")
        return 0
    found: dict[str, list[dict[str, float]]] = {f"{workers} {kind}": [] for workers, kind in CASES}
    with tempfile.TemporaryDirectory() as folder:
        engine, port = upstream(Path(folder))
        servers = {(workers, kind): Server(Path(folder), workers, kind, port) for workers, kind in CASES}
        for number in range(arguments.rounds):
            for case in CASES if number % 2 == 0 else CASES[::-1]:
                found[f"{case[0]} {case[1]}"].append(load(Path(folder), servers[case], arguments.seconds))
        for server in servers.values():
            server.stop()
        engine.kill()
    report(found, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
