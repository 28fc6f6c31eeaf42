"""What spans cost an engine: its application without traces, with them but nobody asking, and with all requests traced.

    python benchmarks/tracing.py [--rounds 16] [--tokens 32] [--streams 16]

One OpenVINO engine with one thread and a random Llama of 16 M parameters answers streams in this process; spans go to
a collector that only reads, in a process of its own. Sides take turns, in an order that is reversed every other round;
ratios are within a round. Processor time is that of this whole process, the thread that sends spans included.
Results: benchmarks/results/tracing.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from _sides import Figures, keep
from generation import Prompts, make_model
from tokenworks.serving.app import EngineApp
from tokenworks.serving.engine import Options
from tokenworks.serving.engines import openvino
from tokenworks.serving.tracing.spans import open_traces

SIDES = ("no traces", "traces, not sampled", "every request traced")
COLLECTOR = """
import http.server
class Take(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take)
print(server.server_port, flush=True)
server.serve_forever()
"""


async def ask(app: EngineApp, prompt: str, tokens: int, sampled: bool) -> None:
    """Stream one answer."""
    fields = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    waiting = [{"type": "http.request", "body": json.dumps(fields).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(f"the engine answered {message}")

    headers = [(b"traceparent", f"00-{'a' * 32}-{'b' * 16}-0{sampled:d}".encode())]
    await app({"type": "http", "path": "/v1/completions", "method": "POST", "headers": headers}, receive, send)


async def run(app: EngineApp, prompts: list[str], tokens: int, sampled: bool) -> tuple[float, float]:
    """Answer all `prompts` at once."""
    began_s, core_s = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask(app, prompt, tokens, sampled) for prompt in prompts))
    made = len(prompts) * tokens
    return made / (time.perf_counter() - began_s), made / (time.process_time() - core_s)


async def measure(sides: dict[str, tuple[EngineApp, bool]], prompts: Prompts, chosen: argparse.Namespace) -> Figures:
    """Return one pair of figures for each side and round."""
    found: Figures = {side: [] for side in SIDES}
    await run(sides[SIDES[0]][0], prompts.take(chosen.streams), chosen.tokens, False)
    for number in range(chosen.rounds):
        for side in SIDES[:: -1 if number % 2 else 1]:
            app, sampled = sides[side]
            found[side].append(await run(app, prompts.take(chosen.streams), chosen.tokens, sampled))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--streams", type=int, default=16)
    chosen = parser.parse_args()
    collector = subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True)
    assert collector.stdout is not None
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = make_model(Path(scratch) / "model")
            endpoint = f"http://127.0.0.1:{collector.stdout.readline().strip()}/v1/traces"
            options = Options(threads=1, cache=str(Path(scratch) / "cache"), otlp_endpoint=endpoint, otlp_service="e")
            engine = openvino.load(folder, options)
            traces = open_traces(options, "model@1", "openvino")
            plain, traced = EngineApp(engine, "model@1"), EngineApp(engine, "model@1", traces=traces)
            sides = dict(zip(SIDES, ((plain, True), (traced, False), (traced, True)), strict=True))
            found = asyncio.run(measure(sides, Prompts(folder), chosen))
            asyncio.run(traces.close())
    finally:
        collector.terminate()
        collector.wait()
    work = f"{chosen.streams} streams of {chosen.tokens} tokens at once"
    keep("tracing", "What spans cost an engine", work, found)


if __name__ == "__main__":
    main()
