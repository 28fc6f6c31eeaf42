"""A large batch through the real server: how full it keeps the engine, and how much memory it takes.

    python benchmarks/batches.py [--lines 100000] [--slots 16] [--service-ms 40]

The engine is a stand-in of known throughput (see _batch_engine.py): what is measured is the server, with every duty on
(key, labels, durable ledger record and sealed bodies for each line). Its offline throughput is measured directly, with
as many connections as the batch has. Results go to benchmarks/results/batches.json and batches.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from ledger import RESULTS, machine
from tokenworks.serving.address import Address
from tokenworks.serving.upstream import Upstream

ENGINE = Path(__file__).parent / "_batch_engine.py"
CONFIG = """
[engines]
remote_url = "http://127.0.0.1:{port}/v1"
remote_label = "restricted"
[platform]
batch_concurrency = {concurrency}
"""
Row = dict[str, Any]


def write_lines(path: Path, lines: int) -> None:
    """Write the input of a batch."""
    with path.open("wb") as file:
        for number in range(lines):
            text = f"Ticket {number}: my card was charged twice for the same order, what shall I do?"
            body = {"model": "remote", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
            line = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line).encode() + b"\n")


async def offline(port: int, requests: int, concurrency: int) -> float:
    """Return the requests/s of the engine alone."""
    upstream = Upstream(Address(host="127.0.0.1", port=port, prefix="/v1"))
    left = iter(range(requests))
    body = msgspec.json.encode({"model": "remote", "messages": [{"role": "user", "content": "x" * 80}]})

    async def ask() -> None:
        for _ in left:
            answer = await upstream.request("POST", "/chat/completions", body)
            assert answer.status == 200

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(concurrency)))
    return requests / (time.perf_counter() - began)


class Served:
    """A real server over a home, its engine the stand-in."""

    def __init__(self, home: Path, port: int, concurrency: int) -> None:
        config = home.parent / "tokenworks.toml"
        config.write_text(CONFIG.format(port=port, concurrency=concurrency))
        command = [sys.executable, "-m", "tokenworks.cli.main", "--config", str(config), "serve", "--home", str(home)]
        self._log = (home.parent / "server.log").open("wb")
        self._process = subprocess.Popen([*command, "--port", "0"], stdout=self._log, stderr=self._log)
        self._memory = psutil.Process(self._process.pid)
        until = time.monotonic() + 120
        while not ((home / "address.json").exists() and (home / "api-key").exists()):
            assert time.monotonic() < until, (home.parent / "server.log").read_text()
            time.sleep(0.1)
        url = json.loads((home / "address.json").read_bytes())["url"]
        key = (home / "api-key").read_text().strip()
        self.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=300)

    def rss_mb(self) -> float:
        """Return what the server process holds in memory."""
        return self._memory.memory_info().rss / 1e6

    def stop(self) -> None:
        """End it as a service manager does."""
        self._process.terminate()
        self._process.wait(60)


def run_batch(server: Served, path: Path) -> Row:
    """Send, run and fetch one batch; watch memory meanwhile."""
    before_mb, began = server.rss_mb(), time.perf_counter()
    with path.open("rb") as file:
        sent = server.client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("rows.jsonl", file)}).json()
    sent_s = time.perf_counter() - began
    wanted = {"input_file_id": sent["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = server.client.post("/v1/batches", json=wanted).json()
    memory, started_s = [], 0.0
    while batch["status"] not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(1.0)
        memory.append(server.rss_mb())
        batch = server.client.get(f"/v1/batches/{batch['id']}").json()
        if batch["status"] == "in_progress" and not started_s:
            started_s = time.perf_counter()
    ended_s = time.perf_counter()
    counts = batch["request_counts"]
    assert counts["completed"] == counts["total"], batch
    lines = 0
    with server.client.stream("GET", f"/v1/files/{batch['output_file_id']}/content") as answer:
        lines = sum(chunk.count(b"\n") for chunk in answer.iter_bytes())
    assert lines == counts["total"]
    return {
        "lines": lines,
        "accepted_s": sent_s,
        "run_s": ended_s - started_s,
        "returned_s": time.perf_counter() - ended_s,
        "lines_per_s": lines / (ended_s - started_s),
        "rss_before_mb": before_mb,
        "rss_at_tenths_mb": [memory[len(memory) * tenth // 10] for tenth in range(10)] + [memory[-1]],
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--service-ms", type=float, default=40.0)
    parser.add_argument("--name", default="batches")
    options = parser.parse_args()
    command = [sys.executable, str(ENGINE), str(options.slots), str(options.service_ms / 1000)]
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine,
    ):
        assert engine.stdout is not None
        port, concurrency = int(engine.stdout.readline()), options.slots * 2
        alone = asyncio.run(offline(port, int(10 * options.slots * 1000 / options.service_ms), concurrency))
        write_lines(Path(name) / "rows.jsonl", options.lines)
        server = Served(Path(name) / "home", port, concurrency)
        try:
            found = run_batch(server, Path(name) / "rows.jsonl")
        finally:
            server.stop()
        assert engine.stdin is not None
        engine.stdin.close()
    found |= {"engine_offline_per_s": alone, "engine_share": found["lines_per_s"] / alone}
    found |= {"slots": options.slots, "service_ms": options.service_ms, "concurrency": concurrency}
    write_results(options.name, found)


def write_results(name: str, found: Row) -> None:
    """Write and print what was measured."""
    where = machine(None)
    (RESULTS / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode({"machine": where, "row": found})))
    lines = [
        f"# A batch of {found['lines']:,} lines\n",
        f"{where['cores']} cores of {where['cpu']}, shared by server, engine stand-in and client; load "
        f"{where['load']:.1f} at the end. The stand-in answers {found['slots']} requests at a time, "
        f"{found['service_ms']:.0f} ms each.\n",
        "| figure | value |",
        "| --- | ---: |",
        f"| engine alone, requests/s | {found['engine_offline_per_s']:.0f} |",
        f"| batch, lines/s | {found['lines_per_s']:.0f} |",
        f"| share of the engine's throughput | {found['engine_share']:.3f} |",
        f"| file accepted in, s | {found['accepted_s']:.2f} |",
        f"| run in, s | {found['run_s']:.1f} |",
        f"| output returned in, s | {found['returned_s']:.2f} |",
        f"| server before, MB | {found['rss_before_mb']:.0f} |",
        f"| server at each tenth, MB | {', '.join(f'{each:.0f}' for each in found['rss_at_tenths_mb'])} |",
    ]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
