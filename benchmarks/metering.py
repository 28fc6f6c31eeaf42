"""What metering costs: tokens per second of an engine host with and without it, interleaved.

    python benchmarks/metering.py [--rounds 15] [--tokens 96] [--streams 16] [--before SRC]

Three hosts of the same random Llama of 16 M parameters: one whose steps nobody meters, one with a page that a meter of
this process reads every second, and with `--before` one of another source tree, such as that before there was any
accounting. All stream the same answers with the usage in every piece, as the gateway asks for it. Sides take turns,
in an order that is reversed every other round; ratios are within a round. Results: benchmarks/results/metering.json
and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from generation import Prompts, make_model
from tokenworks.factory.doctor import machine
from tokenworks.metering.attribution.account import Account
from tokenworks.metering.attribution.meterer import Meterer
from tokenworks.metering.attribution.page import new_page
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.opening import Meter
from tokenworks.metering.power.model import open_source
from tokenworks.serving.steps import Steps
from tokenworks.settings import MeterSettings

RESULTS = Path(__file__).parent / "results"


class Host:
    """An engine host of a source tree."""

    def __init__(self, folder: Path, options: dict[str, Any], source: Path | None = None) -> None:
        command = [sys.executable, "-m", "tokenworks.serving.host", "--engine", "openvino", "--folder", str(folder)]
        environ = {**os.environ} | ({"PYTHONPATH": str(source)} if source else {})
        self._process = subprocess.Popen(
            [*command, "--name", "m", "--options", json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.where = urlsplit(f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}")

    def run(self, prompts: list[str], tokens: int) -> tuple[float, float]:
        """Return tokens/s, and tokens per second of processor time, of streaming the answers to `prompts` at once."""
        began_s, core_s = time.perf_counter(), self._core_s()
        asyncio.run(self._all(prompts, tokens))
        made = len(prompts) * tokens
        return made / (time.perf_counter() - began_s), made / (self._core_s() - core_s)

    def _core_s(self) -> float:
        """Return the processor time of the main thread so far, exactly: that of psutil is in steps of 10 ms."""
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    async def _all(self, prompts: list[str], tokens: int) -> None:
        await asyncio.gather(*(self._one(prompt, tokens) for prompt in prompts))

    async def _one(self, prompt: str, tokens: int) -> None:
        usage = {"include_usage": True, "continuous_usage_stats": True}
        fields = {"model": "m", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        body = json.dumps({**fields, "stream": True, "stream_options": usage}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection(self.where.hostname, self.where.port)
        writer.write(head.encode() + body)
        received = await reader.read()
        writer.close()
        if f'"completion_tokens":{tokens},'.encode() not in received:
            raise SystemExit(f"an answer is not complete: {received[-300:]!r}")

    def end(self) -> None:
        """Stop the process."""
        self._process.terminate()
        self._process.wait()


def measure(chosen: argparse.Namespace, scratch: Path) -> dict[str, list[tuple[float, float]]]:
    """Return tokens/s and tokens per second of the main thread's processor time by side, one pair for each round."""
    folder, pages = make_model(scratch / "model"), scratch / "pages"
    options = {"cache": str(scratch / "cache"), "threads": 2}
    hosts = {"not metered": Host(folder, options), "metered": Host(folder, {**options, "meter": str(pages)})}
    if chosen.before:
        hosts["before"] = Host(folder, options, chosen.before)
    source = open_source(MeterSettings(idle_w=20.0, busy_w=65.0), Calibration())
    meterer = Meterer(Meter({"model": source}, most_w=1e4), pages, interval_s=1.0)
    over = threading.Event()
    thread = threading.Thread(target=lambda: [meterer.turn() for _ in iter(lambda: over.wait(1.0), True)])
    thread.start()
    prompts, found = Prompts(folder), {name: list[tuple[float, float]]() for name in hosts}
    for host in hosts.values():
        host.run(prompts.take(chosen.streams), chosen.tokens)
    for number in range(chosen.rounds):
        for name in sorted(hosts, reverse=bool(number % 2)):
            found[name].append(hosts[name].run(prompts.take(chosen.streams), chosen.tokens))
    over.set()
    thread.join()
    for host in hosts.values():
        host.end()
    return found


def accounting_us(members: int, steps: int = 2000) -> float:
    """Return the microseconds that the accounting of one step takes, the least of some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        account, batch = Account(new_page(Path(folder))), Steps(256)
        for number in range(members):
            batch.add(number, account.begin(), 1, lambda: True)
        rounds = []
        for _ in range(8):
            began_s = time.perf_counter()
            for _ in range(steps):
                batch.run(lambda: None)
            rounds.append((time.perf_counter() - began_s) / steps)
        account.close()
    return min(rounds) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--before", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(chosen, Path(scratch))
    write(found, {members: accounting_us(members) for members in (1, 16, 32)}, chosen)


def write(
    found: dict[str, list[tuple[float, float]]], accounting: dict[int, float], chosen: argparse.Namespace
) -> None:
    """Keep the figures as data and as a table, and print the table."""
    about = machine()
    lines = [
        "# What metering costs",
        "",
        f"{about['cpu']}, {about['cores']} cores shared by engine and client; {chosen.streams} streams of "
        f"{chosen.tokens} tokens, {chosen.rounds} interleaved rounds; medians, ratios within a round.",
        "",
        "| side | tokens/s | metered / this side | quartiles | by processor time of the main thread | quartiles |",
        "|---|---:|---:|---|---:|---|",
    ]
    for name, values in found.items():
        cells = [f"{statistics.median(wall for wall, _ in values):,.0f}"]
        for at in (0, 1):
            ratios = [metered[at] / value[at] for metered, value in zip(found["metered"], values, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells += [f"{middle:.4f}", f"{low:.4f} - {high:.4f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    each = ", ".join(f"{us:.1f} us with {members}" for members, us in accounting.items())
    lines += ["", f"Accounting of one step by itself: {each} requests in it."]
    told = {"machine": about, "tokens_per_s": found, "accounting_us": accounting}
    (RESULTS / "metering.json").write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "metering.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
