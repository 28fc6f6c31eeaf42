"""What an engine's time is spent on when more is asked than it can do: the gateway's queue beside simpler ones.

    python benchmarks/overload.py [--policies tokenworks,fifo,fifo-hang-up,bounded] [--seconds 10]

The gateway is the real one, as a process of its own with all its duties. The engine behind it stands in for one: a real
HTTP server whose 8 slots are held for known times (lognormal, mean 0.2 s, sigma 0.6: the shape of answer lengths), so
that what is measured is whose requests get them. Answers are worth something for 0.6 s. Load is open-loop (Poisson).
Every policy runs the same arrivals. Results are merged into benchmarks/results/overload.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SLOTS, MEAN_S, SIGMA, DEADLINE_S = 8, 0.2, 0.6, 0.6
LOADS = (1.0, 1.5, 2.0, 5.0, 10.0)
WARM_S = 1.5


@dataclass(frozen=True)
class Policy:
    """A gateway and how its callers behave."""

    name: str
    says: str
    slots: int  # of the gateway's queue; 0: it has none
    max_in_flight: int
    tells: bool = False  # callers say their deadline
    hangs_up: bool = True  # callers give up at their deadline


POLICIES = [
    Policy("fifo", "unbounded queue, first come first served; callers wait", 0, 1_000_000, hangs_up=False),
    Policy("fifo-hang-up", "the same; callers hang up at their deadline", 0, 1_000_000),
    Policy("bounded", "a queue of 16, the rest refused; callers hang up", 0, SLOTS + 16),
    Policy("tokenworks", "the queue of gateway.admission", SLOTS, 4096, tells=True),
]


@dataclass(frozen=True)
class Ask:
    """A request to come."""

    at_s: float
    service_s: float
    tenant: str = "fair"
    priority: str = ""
    deadline_s: float = DEADLINE_S  # inf: none


@dataclass
class Got:
    """What became of it."""

    name: str
    ask: Ask
    status: int = 0  # 0: no answer
    latency_s: float = 0.0
    counted: bool = True

    @property
    def in_time(self) -> bool:
        """Whether it was answered by its deadline."""
        return self.status == 200 and self.latency_s <= self.ask.deadline_s


def arrivals(load: float, seconds: float, seed: int, **what: Any) -> list[Ask]:
    """Return Poisson arrivals at `load` times what the engine can do."""
    rng, mu, at_s, asks = random.Random(seed), math.log(MEAN_S) - SIGMA**2 / 2, 0.0, []
    while (at_s := at_s + rng.expovariate(load * SLOTS / MEAN_S)) < seconds:
        asks.append(Ask(at_s, rng.lognormvariate(mu, SIGMA), **what))
    return asks


class Site:
    """Engine and gateway, as processes."""

    def __init__(self, policy: Policy, home: Path) -> None:
        self.policy = policy
        self._engine = _start("_overload_engine.py", str(SLOTS))
        assert self._engine.stdout is not None
        self.engine = int(self._engine.stdout.readline())
        self._all = [self._engine]
        self._gateway = _start(
            "_overload_gateway.py", str(self.engine), str(home), str(policy.slots), str(policy.max_in_flight)
        )
        self._all.append(self._gateway)
        assert self._gateway.stdout is not None
        told = json.loads(self._gateway.stdout.readline())
        self.port, self.secrets = told["port"], told["secrets"]

    def close(self) -> None:
        """End both."""
        for process in self._all:
            process.kill()
            process.wait()

    async def ask(self, got: Got, until_s: float) -> None:
        """Ask one request; give up at its deadline where the policy's callers do, and at the end of the run."""
        ask, began_s = got.ask, time.monotonic()
        patient_s = ask.deadline_s if self.policy.hangs_up else math.inf
        writer = None
        try:
            async with asyncio.timeout(min(patient_s, until_s - began_s)):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(self._bytes(got))
                answer = await reader.read()
                got.status = int(answer.split(b" ", 2)[1]) if answer else 0
                got.latency_s = time.monotonic() - began_s
        except (TimeoutError, OSError):
            got.latency_s = time.monotonic() - began_s
        finally:
            if writer is not None:
                writer.transport.abort()

    def _bytes(self, got: Got) -> bytes:
        body = {"model": "model", "prompt": f"{got.name} {got.ask.service_s:.6f}", "max_tokens": 4096}
        sent = json.dumps(body).encode()
        head = [
            "POST /v1/completions HTTP/1.1", "host: x", "connection: close", f"content-length: {len(sent)}",
            f"authorization: Bearer {self.secrets[got.ask.tenant]}",
        ]  # fmt: skip
        if self.policy.tells and got.ask.deadline_s < math.inf:
            head.append(f"x-tokenworks-deadline-ms: {got.ask.deadline_s * 1000:.0f}")
        if got.ask.priority:
            head.append(f"x-tokenworks-priority: {got.ask.priority}")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + sent

    async def used(self) -> dict[str, tuple[float, float]]:
        """Return when each request held a slot."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.engine)
        writer.write(b"GET /used HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))


def _start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE
    )


async def run(policy: Policy, asks: list[Ask], seconds: float) -> tuple[list[Got], dict[str, float], float]:
    """Run `asks` after a warm-up; return what became of each, its seconds in a slot, and how busy the slots were."""
    with tempfile.TemporaryDirectory() as home:
        site = Site(policy, Path(home))
        try:
            warm = [Got(f"w{number}", ask) for number, ask in enumerate(arrivals(0.8, WARM_S, seed=99))]
            await _play(site, warm, WARM_S)
            got = [Got(f"r{number}", ask) for number, ask in enumerate(asks)]
            began_s = time.monotonic()
            await _play(site, got, seconds)
            ended_s, spans = time.monotonic(), await site.used()
        finally:
            site.close()
    held = {name: (end or ended_s) - start for name, (start, end) in spans.items() if name.startswith("r")}
    return got, held, sum(held.values()) / SLOTS / (ended_s - began_s)


async def _play(site: Site, got: list[Got], seconds: float) -> None:
    began_s = time.monotonic()
    until_s = began_s + seconds + DEADLINE_S
    tasks = []
    for one in sorted(got, key=lambda one: one.ask.at_s):
        await asyncio.sleep(max(0.0, began_s + one.ask.at_s - time.monotonic()))
        tasks.append(asyncio.create_task(site.ask(one, until_s)))
    await asyncio.gather(*tasks)


def row(got: list[Got], held: dict[str, float], busy: float, seconds: float) -> dict[str, Any]:
    """Return the figures of one run."""
    total_s = sum(held.values())
    good = [one for one in got if one.in_time]
    admitted = [one for one in got if one.name in held]
    refused = sorted(one.latency_s for one in got if one.status in (429, 503))
    latency = sorted(one.latency_s for one in got if one.status == 200)
    return {
        "seconds": seconds,
        "asked": len(got),
        "useful_share": sum(held.get(one.name, 0.0) for one in good) / total_s if total_s else 0.0,
        "goodput": sum(one.ask.service_s for one in good) / SLOTS / seconds,
        "busy": busy,
        "answered_in_time": len(good),
        "admitted": len(admitted),
        "admitted_in_time": len([one for one in admitted if one.in_time]) / max(1, len(admitted)),
        "answered_p99_s": _percentile(latency, 0.99),
        "answered_p95_s": _percentile(latency, 0.95),
        "refused": len(refused),
        "refused_p50_s": _percentile(refused, 0.5),
    }


def _percentile(ordered: list[float], share: float) -> float | None:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


async def measure(policy: Policy, load: float, seconds: float) -> dict[str, Any]:
    """Return the figures of one policy under `load`."""
    got, held, busy = await run(policy, arrivals(load, seconds, seed=1), seconds)
    found = row(got, held, busy, seconds)
    print(policy.name, f"{load:g}x", json.dumps(found), flush=True)
    return found


async def measure_sharing(policy: Policy, seconds: float) -> dict[str, Any]:
    """Return what a flood does to another tenant, and batch to those who wait."""
    found: dict[str, Any] = {}
    for name, load in (("beside 0.4x", 0.4), ("beside 2x", 2.0)):
        fair = arrivals(load, seconds, seed=2)
        flood = arrivals(10.0 - load, seconds, seed=3, tenant="flood")
        got, held, busy = await run(policy, fair + flood, seconds)
        mine = [one for one in got if one.ask.tenant == "fair"]
        found[f"flood {name}"] = {
            **row(mine, {one.name: held[one.name] for one in mine if one.name in held}, busy, seconds),
            "in_time": len([one for one in mine if one.in_time]) / len(mine),
            "engine_share": sum(held.get(one.name, 0.0) for one in mine) / sum(held.values()),
        }
    people = arrivals(0.5, seconds, seed=4)
    batch = arrivals(3.0, seconds, seed=5, tenant="flood", priority="batch", deadline_s=math.inf)
    got, held, busy = await run(policy, people + batch, seconds)
    mine = [one for one in got if not one.ask.priority]
    found["interactive 0.5x over batch 3x"] = {
        **row(mine, {one.name: held[one.name] for one in mine if one.name in held}, busy, seconds),
        "in_time": len([one for one in mine if one.in_time]) / len(mine),
        "engine_share": sum(held.get(one.name, 0.0) for one in mine) / sum(held.values()),
    }
    for name, figures in found.items():
        print(policy.name, name, json.dumps(figures), flush=True)
    return found


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    about = report["machine"]
    lines = [
        "# Overload: what an engine's time is spent on",
        "",
        f"{about['cpu']}, {about['cores']} cores shared by callers, gateway and engine; {about['os']}.",
        f"The engine is a stand-in with {SLOTS} slots and known service times (lognormal, mean {MEAN_S} s, sigma",
        f"{SIGMA}); deadline {DEADLINE_S} s; open-loop arrivals, the same for each; the data say for how long.",
        "",
        "Useful share of engine time: the part that was spent on answers that met their deadline.",
        "",
        f"| policy | {' | '.join(f'{load:g}x' for load in LOADS)} |",
        f"|---|{'---:|' * len(LOADS)}",
    ]
    for name, found in report["policies"].items():
        shares = [
            f"{found['loads'][key]['useful_share']:.2f}" if (key := f"{load:g}") in found["loads"] else "-"
            for load in LOADS
        ]
        lines.append(f"| {name}: {found['says']} | {' | '.join(shares)} |")
    lines += ["", "| policy | load | busy | in time/s | of admitted in time | p99 of answers s | refused after s |",
              "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name, found in report["policies"].items():
        for load, one in sorted(found["loads"].items(), key=lambda item: float(item[0])):
            figures = [f"{one['busy']:.2f}", f"{one['answered_in_time'] / one['seconds']:.1f}",
                       f"{one['admitted_in_time']:.3f}", _shown(one["answered_p99_s"]),
                       _shown(one["refused_p50_s"])]  # fmt: skip
            lines.append(f"| {name} | {load}x | {' | '.join(figures)} |")
    lines += ["", "What one tenant has of the engine beside others (its own requests only):", "",
              "| policy | case | answered in time | its part of engine time | p95 of answers s | engine busy |",
              "|---|---|---:|---:|---:|---:|"]  # fmt: skip
    for name, found in report["policies"].items():
        for case, one in found.get("sharing", {}).items():
            figures = [f"{one['in_time']:.3f}", f"{one['engine_share']:.2f}", _shown(one["answered_p95_s"]),
                       f"{one['busy']:.2f}"]  # fmt: skip
            lines.append(f"| {name} | {case} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def _shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0))
    return {"cpu": cpu, "cores": cores, "python": platform.python_version(), "os": platform.platform()}


async def main(names: list[str], parts: list[str], loads: list[float], seconds: float) -> None:
    """Measure, and merge each run into the results."""
    place = RESULTS / "overload.json"
    report = json.loads(place.read_text()) if place.exists() else {"policies": {}}
    report |= {"machine": machine()}
    known: dict[str, Any] = report["policies"]
    for policy in [policy for policy in POLICIES if policy.name in names]:
        found = known.setdefault(policy.name, {"says": policy.says, "loads": {}})
        for load in loads if "loads" in parts else ():
            found["loads"][f"{load:g}"] = await measure(policy, load, seconds)
            save(report)
        if "sharing" in parts:
            found["sharing"] = await measure_sharing(policy, seconds)
            save(report)
    print(table(report))


def save(report: dict[str, Any]) -> None:
    """Write the results as data and as a page."""
    known = report["policies"]
    ordered = {policy.name: known[policy.name] for policy in POLICIES if policy.name in known}
    report = report | {"policies": ordered}
    (RESULTS / "overload.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "overload.md").write_text(table(report))


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", default=",".join(policy.name for policy in POLICIES))
    parser.add_argument("--parts", default="loads,sharing")
    parser.add_argument("--loads", default=",".join(f"{load:g}" for load in LOADS))
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    loads = [float(load) for load in asked.loads.split(",")]
    uvloop.run(main(asked.policies.split(","), asked.parts.split(","), loads, asked.seconds))
