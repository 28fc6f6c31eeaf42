"""Real processes over a small task: what the system tests start, and how they end it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import cache
from pathlib import Path

import msgspec
import psutil

from tokenworks.example.stdlib import Example, write_example

CLASSES = 8
LARGEST_BYTES = 25_000  # of a document: each of its pieces is embedded for search
ROUTE = """
[task]
name = "route"
kind = "classify"
owner = "mailto:team@example.org"
label = "public"
[data]
examples = "route.jsonl"
[model]
base = "minilm"
method = "head"
[check]
margin = 0.15
"""
COMPLETE = """
[task]
name = "complete"
kind = "complete"
owner = "mailto:team@example.org"
label = "restricted"
[data]
sources = ["docs"]
[model]
base = "from-scratch"
budget = "20k tokens"
[check]
held_out = 0.1
"""


def write_tasks(folder: Path, *, each: int = 25) -> list[Path]:
    """Write a small `route` and a tiny `complete` task from the standard library into `folder`."""
    rows, traffic = _whole_example()
    counts: dict[str, int] = {}
    for row in traffic:
        counts[row.label] = counts.get(row.label, 0) + 1
    taught = sorted(counts, key=lambda name: (-counts[name], name))[:CLASSES]
    few = [row for name in taught for row in [one for one in rows if one.label == name][:each]]
    encode = msgspec.json.Encoder().encode_lines
    (folder / "route.jsonl").write_bytes(encode(few))
    (folder / "traffic.jsonl").write_bytes(encode([row for row in traffic if row.label in taught]))
    (folder / "route.toml").write_text(ROUTE + '[turn]\nwhen = "never"\n')
    (folder / "complete.toml").write_text(COMPLETE)
    docs = folder / "docs"
    docs.mkdir()
    modules = sorted(Path(os.__file__).parent.glob("[a-c]*.py"))
    for path in [one for one in modules if one.stat().st_size < LARGEST_BYTES][:16]:
        (docs / path.name).write_bytes(path.read_bytes())
    return [folder / "route.toml", folder / "complete.toml"]


@cache
def _whole_example() -> tuple[list[Example], list[Example]]:
    """Return what the first model learns from, and what it is asked: read from the library once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        write_example(Path(folder), owner="mailto:team@example.org")
        names = ("route.jsonl", "traffic.jsonl")
        rows, traffic = (msgspec.json.Decoder(Example).decode_lines(Path(folder, name).read_bytes()) for name in names)
    return rows, traffic


def tokenworks(home: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run the command to its end and return what it printed."""
    command = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, **options)


class Running:
    """A `tokenworks` server process with its address and key."""

    def __init__(self, home: Path, *arguments: str, under: tuple[str, ...] = ()) -> None:
        command = [*under, sys.executable, "-m", "tokenworks.cli.main", "--home", str(home), *arguments, "--port", "0"]
        self.home = home
        self.output: list[str] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.url = self.until(r"answers at (http://\S+)")
        self.key = self.until(r"key\s+(tw-\S+)")

    def until(self, pattern: str) -> str:
        """Read on until a line matches; return its first group."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if found := re.search(pattern, line):
                return found[1] if found.groups() else found[0]
        raise AssertionError(f"{pattern!r} was never printed:\n{''.join(self.output)}")

    def tree(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        ours = psutil.Process(self.process.pid)
        return [ours, *ours.children(recursive=True)]

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """End the whole process group at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def until_ready(url: str, ref: str, seconds: float = 240.0) -> None:
    """Wait until the engine of `ref` can answer."""
    end = time.monotonic() + seconds
    while True:
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            engines = msgspec.json.decode(answer.read())["engines"]
        if engines.get(ref, {}).get("state") == "ready":
            return
        assert time.monotonic() < end, engines
        time.sleep(0.1)


def gone(processes: list[psutil.Process], seconds: float = 60.0) -> bool:
    """Return whether all of `processes` have ended, waiting a while for it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes if one.is_running()):
            return True
        time.sleep(0.1)
    return False
