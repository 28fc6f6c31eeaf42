"""Our gateway beside nginx, LiteLLM and Portkey: the same requests to the same upstream in the same run.

    python benchmarks/peers.py [--rounds 3] [--home ~/.cache/tokenworks-peers] [--only nginx,litellm]

Every gateway has one worker pinned to core 0; load and upstream share core 1, and idle gateways stand still. Sides
take turns and change who begins. Ours has every duty on: key, label rule, policy, four limits, validation, token
metering, a durable ledger entry before the answer ends. nginx is a plain `proxy_pass`, Portkey checks and records
nothing, LiteLLM checks its key. Needs cc, wrk and nginx (Debian: gcc wrk nginx-light), node and npm; LiteLLM and
Portkey are installed at the first run. Results: benchmarks/results/peers.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from _peers_sides import LOAD_CORE, QUESTION, Side, litellm, nginx, portkey, tokenworks, upstream
from tokenworks.core.compiled import folder
from tokenworks.core.compiling import make
from tokenworks.serving.address import Address
from tokenworks.serving.upstream import Upstream

RESULTS = Path(__file__).parent / "results"
CONNECTIONS = 64
LOAD_S = 3
SLOW_RATE = 50.0  # requests a second, open loop
SLOW_REQUESTS = 200
STREAMS = {"litellm": 10, "portkey": 50}  # of the others 100: as many as each holds without falling behind
CHUNKS, EVERY_MS = 64, 20
MANY = 2000
Row = dict[str, float]


def load(side: Side, home: Path) -> Row:
    """Return requests a second at 64 connections, and processor time a request."""
    headers = {"content-type": "application/json", **side.headers}
    lines = [f'wrk.headers["{name}"]={json.dumps(value)}' for name, value in headers.items()]
    script = home / "ask.lua"
    script.write_text("\n".join(['wrk.method="POST"', f"wrk.body={json.dumps(json.dumps(QUESTION))}", *lines]))
    before = side.cpu_us()
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{LOAD_S}", "--timeout", "10s"]
    told = subprocess.run(
        [*command, "-s", str(script), f"http://127.0.0.1:{side.port}/v1/chat/completions"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    answered = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    if failed or not answered:
        sys.exit(f"{side.name}: {told}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])  # type: ignore[index]
    return {"rate": rate, "cpu_us": (side.cpu_us() - before) / answered}


async def latency(side: Side) -> Row:
    """Return the latencies of requests that come at random moments, 50 a second."""
    to = Upstream(Address(host="127.0.0.1", port=side.port))
    body = json.dumps(QUESTION).encode()
    took: list[float] = []

    async def ask() -> None:
        began = time.perf_counter()
        answer = await to.request("POST", "/v1/chat/completions", body, side.headers.items())
        await answer.read()
        assert answer.status == 200
        took.append(time.perf_counter() - began)

    dice, asking = random.Random(1), []
    for _ in range(SLOW_REQUESTS):
        await asyncio.sleep(dice.expovariate(SLOW_RATE))
        asking.append(asyncio.create_task(ask()))
    await asyncio.gather(*asking)
    to.close()
    return {"p50_ms": 1e3 * statistics.median(took), "p99_ms": 1e3 * _quantile(took, 0.99)}


async def streams(side: Side, count: int) -> Row:
    """Return times to the first chunk and how long chunks are under way, over `count` streams at once."""
    to = Upstream(Address(host="127.0.0.1", port=side.port))
    body = json.dumps({**QUESTION, "stream": True}).encode()
    firsts: list[float] = []
    transits: list[float] = []

    async def ask(after_s: float) -> None:
        await asyncio.sleep(after_s)
        began = time.perf_counter()
        answer = await to.request("POST", "/v1/chat/completions", body, side.headers.items())
        got = 0
        async for chunk in answer:
            now = time.monotonic_ns()
            marks = re.findall(rb'"content": ?" t(\d+)"', chunk)
            if marks and not got:
                firsts.append(time.perf_counter() - began)
            got += len(marks)
            transits.extend((now - int(mark)) / 1e6 for mark in marks)
        assert (answer.status, got) == (200, CHUNKS), (side.name, answer.status, got)

    dice = random.Random(2)
    await asyncio.gather(*(ask(dice.random() * 2) for _ in range(count)))
    to.close()
    return {
        "streams": count,
        "first_ms": 1e3 * statistics.median(firsts),
        "transit_ms": statistics.median(transits),
        "transit_p99_ms": _quantile(transits, 0.99),
    }


async def many(side: Side) -> Row:
    """Return the memory of a gateway with 2,000 streams under way, and whether all of them were whole."""
    to = Upstream(Address(host="127.0.0.1", port=side.port), patience_s=120)
    body = json.dumps({**QUESTION, "stream": True}).encode()
    whole = most = 0

    async def ask(after_s: float) -> None:
        nonlocal whole
        await asyncio.sleep(after_s)
        answer = await to.request("POST", "/v1/chat/completions", body, side.headers.items())
        text = b"".join([chunk async for chunk in answer])
        whole += text.count(b'"content":" t') == CHUNKS and text.endswith(b"data: [DONE]\n\n")

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, round(side.rss_mb()))
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(ask(6 * number / MANY) for number in range(MANY)))
    watching.cancel()
    to.close()
    return {"streams": MANY, "whole": whole, "rss_mb": most}


def _quantile(values: list[float], at: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(at * len(ranked)))]


def measure(sides: list[Side], rounds: int, home: Path) -> dict[str, dict[str, list[Row]]]:
    """Return what each kind of load found of each side; the first round warms up and does not count."""
    found: dict[str, dict[str, list[Row]]] = {"load": {}, "latency": {}, "streams": {}}
    kinds: dict[str, Callable[[Side], Row]] = {
        "load": lambda side: load(side, home),
        "latency": lambda side: uvloop.run(latency(side)),
        "streams": lambda side: uvloop.run(streams(side, STREAMS.get(side.name, 100))),
    }
    for number in range(rounds + 1):
        for kind, run in kinds.items():
            order = sides[number % len(sides) :] + sides[: number % len(sides)]
            for side in order:
                if side.name == "portkey" and kind == "streams":
                    continue  # as installed it breaks off every stream: immutable headers in its HTTP library
                for other in sides:
                    if other is not side and other.name != "direct":
                        other.pause()
                side.go_on()
                time.sleep(0.2)
                row = run(side)
                if number:
                    found[kind].setdefault(side.name, []).append(row)
                for other in sides:
                    other.go_on()
            print(f"round {number} of {rounds}: {kind}", file=sys.stderr, flush=True)
    return found


def report(found: dict[str, dict[str, list[Row]]], crowd: Row, rounds: int) -> dict[str, Any]:
    """Return medians and the ratios that were promised."""
    middle = {kind: {side: _medians(rows) for side, rows in by.items()} for kind, by in found.items()}
    rates = {side: row["rate"] for side, row in middle["load"].items()}
    ours = rates["tokenworks"]
    ratios = {f"x {side}": ours / rates[side] for side in ("litellm", "portkey", "nginx") if side in rates}
    return {
        "machine": _machine(),
        "rounds": rounds,
        "medians": middle,
        "runs": found,
        "ratios": ratios,
        "many": crowd,
    }


def table(told: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    about, middle = told["machine"], told["medians"]
    lines = [
        "# Our gateway beside nginx, LiteLLM and Portkey",
        "",
        f"{about['cpu']}, {about['cores']} cores; {about['os']}; Python {about['python']}. One worker each on core 0, "
        f"upstream and load on core 1; medians of {told['rounds']} rounds, sides taking turns.",
        "",
        "| side | requests/s, 64 connections | CPU us/request | p50 ms at 50/s | p99 ms | streams | first chunk ms "
        "| chunk transit ms | transit p99 ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for side, row in sorted(middle["load"].items(), key=lambda pair: -pair[1]["rate"]):
        slow, flow = middle["latency"][side], middle["streams"].get(side)
        cells = [f"{row['rate']:,.0f}", f"{row['cpu_us']:,.0f}", f"{slow['p50_ms']:.2f}", f"{slow['p99_ms']:.2f}"]
        cells += (
            [f"{flow['streams']:.0f}", *(f"{flow[name]:.2f}" for name in ("first_ms", "transit_ms", "transit_p99_ms"))]
            if flow
            else ["-", "breaks off", "-", "-"]
        )
        lines.append(f"| {side} | {' | '.join(cells)} |")
    ratios = "; ".join(f"{value:,.2f} {name}" for name, value in told["ratios"].items())
    crowd = told["many"]
    lines += [
        "",
        f"Requests a second, ours with every duty: {ratios}.",
        f"{crowd['streams']:.0f} streams at once in one worker: {crowd['whole']:.0f} whole, {crowd['rss_mb']:.0f} MB.",
    ]
    return "\n".join(lines) + "\n"


def _medians(rows: list[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    cores = os.cpu_count()
    return {"cpu": cpu, "cores": cores, "python": platform.python_version(), "os": platform.platform()}


def main() -> None:
    """Start everybody, measure, end everybody."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--home", type=Path, default=Path("~/.cache/tokenworks-peers").expanduser())
    parser.add_argument("--only", default="nginx,litellm,portkey")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk makes the load: install the Debian package wrk")
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the gateway, one for the load")
    asked.home.mkdir(parents=True, exist_ok=True)
    make(folder())
    os.sched_setaffinity(0, {LOAD_CORE})
    behind = upstream(asked.home, chunks=CHUNKS, every_ms=EVERY_MS)
    slow = upstream(asked.home, chunks=CHUNKS, every_ms=200)
    starts = {"nginx": nginx, "litellm": litellm, "portkey": portkey}
    sides = [behind, tokenworks(asked.home, behind.port)]
    try:
        sides.append(tokenworks(asked.home, behind.port, "--bodies", name="tokenworks, texts kept"))
        sides.append(tokenworks(asked.home, behind.port, "--interpreted", name="tokenworks, interpreted"))
        sides += [side for name in asked.only.split(",") if name and (side := starts[name](asked.home, behind.port))]
        crowded = tokenworks(asked.home, slow.port, name="tokenworks, many streams")
        sides.append(crowded)
        crowd = uvloop.run(many(crowded))
        sides.pop().close()
        told = report(measure(sides, asked.rounds, asked.home), crowd, asked.rounds)
    finally:
        for side in (slow, *sides):
            side.close()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "peers.json").write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "peers.md").write_text(table(told))
    print(table(told))


if __name__ == "__main__":
    main()
