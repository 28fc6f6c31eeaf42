"""Ingest beside datatrove: the same files, the same steps, the same number of processes; and how memory grows.

    python benchmarks/ingest.py                      # speed, ours and datatrove's, interleaved
    python benchmarks/ingest.py --memory             # peak memory at 50 MB and at 500 MB of input

The peer comes with `./setup bench`; `--peer-python` names an environment of its own.

Both sides read the files, detect the language (py3langid on both), score or filter quality by Gopher's rules, drop
near copies by MinHash over word 5-grams in 14 bands of 8, and write JSON lines. Ours finds secrets and personal data
as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import psutil

from tokenworks.core.stage import Bench
from tokenworks.line.curate.stage import CURATE, CurateParams
from tokenworks.line.ingest.params import IngestParams, Source
from tokenworks.line.ingest.stage import INGEST, fingerprint
from tokenworks.store.artifacts import open_artifacts

RESULTS = Path(__file__).parent / "results"
PEER = Path(__file__).parent / "_ingest_datatrove.py"
SAMPLE_S = 0.05


def main() -> None:
    """Measure what was asked for, print a table and keep the figures."""
    arguments = parse()
    pack = arguments.data / "docs-enterprise"
    if not pack.is_dir():
        sys.exit(f"{pack} does not exist: unpack the data and name its folder with --data")
    with tempfile.TemporaryDirectory(prefix="tokenworks-bench-", dir=arguments.work) as name:
        work = Path(name)
        if arguments.memory:
            keep("memory", measure_memory(pack, work, arguments))
        else:
            keep("speed", measure_speed(pack, work, arguments))
    write_table()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "tokenworks-data")
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--work", type=Path, default=None, help="where scratch files go")
    parser.add_argument("--files", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500], help="MB of input for --memory")
    return parser.parse_args()


def measure_speed(pack: Path, work: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Run all sides in turn, `rounds` times; return seconds, documents/s and MB/s with their spread."""
    source = work / "in"
    size = copy_markdown(pack, source, arguments.files)
    count = sum(1 for path in source.iterdir())
    sides = {"tokenworks": None, "datatrove": "spacy", "datatrove, whitespace words": "whitespace"}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    kept: dict[str, int] = {}
    for number in range(arguments.rounds):
        for name, words in sides.items():
            out = work / "out"
            shutil.rmtree(out, ignore_errors=True)
            if words is None:
                taken, kept[name] = run_ours(source, out, arguments.processes)
            else:
                taken, kept[name] = run_peer(arguments.peer_python, source, out, arguments.processes, words)
            seconds[name].append(taken)
            print(f"round {number + 1}: {name}: {taken:.2f} s, {kept[name]} kept", flush=True)
    sides_out = {name: figures(seconds[name], count, size) | {"kept": kept[name]} for name in sides}
    ours = statistics.median(seconds["tokenworks"])
    ratios = {
        name: round(statistics.median(taken) / ours, 2) for name, taken in seconds.items() if name != "tokenworks"
    }
    return {
        "documents": count,
        "bytes": size,
        "processes": arguments.processes,
        "sides": sides_out,
        "ratio_documents_per_s": ratios,
    }


def figures(seconds: list[float], count: int, size: int) -> dict[str, object]:
    """Return median, least and greatest of one side."""
    median = statistics.median(seconds)
    return {
        "seconds": [round(each, 2) for each in seconds],
        "documents_per_s": round(count / median, 1),
        "documents_per_s_range": [round(count / max(seconds), 1), round(count / min(seconds), 1)],
        "mb_per_s": round(size / median / 1e6, 2),
    }


def run_ours(source: Path, out: Path, processes: int) -> tuple[float, int]:
    """Ingest and curate in a process of its own with nothing cached; return seconds and documents kept."""
    command = [sys.executable, "-c", "import sys; from ingest import line; line(*sys.argv[1:])"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    return timed([*command, str(source), str(out), str(processes)], environment)


def line(source: str, out: str, processes: str) -> None:
    """Run our two stages and print how many documents stay."""
    home = Path(out)
    store = open_artifacts(str(home / "artifacts"), cache=home / "cache")
    params = IngestParams(sources=(Source(name="docs", path=source),), processes=int(processes))
    benches = {}
    for name in ("ingest", "curate"):
        benches[name] = Bench(store, home / name / "scratch", home / name / "cache")
        benches[name].scratch.mkdir(parents=True)
    outputs = INGEST.run({"listing": fingerprint(params)}, params, benches["ingest"])
    inputs = {name: outputs[name] for name in ("documents", "set_aside")}
    report = CURATE.run(inputs, CurateParams(), benches["curate"])["report"]
    print(json.loads(store.get_bytes(report))["kept"])


def run_peer(python: Path, source: Path, out: Path, processes: int, words: str) -> tuple[float, int]:
    """Run datatrove's pipeline; return seconds and documents kept."""
    return timed([str(python), str(PEER), str(source), str(out), str(processes), words], dict(os.environ))


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Run a command whose last line of output is a count; return its seconds and the count."""
    started_s = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started_s
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-3000:]}")
    return taken, int(done.stdout.strip().splitlines()[-1])


def measure_memory(pack: Path, work: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the peak memory of the whole process tree at each size of input."""
    out: dict[str, object] = {}
    for megabytes in arguments.sizes:
        source = work / f"in-{megabytes}"
        count, size = replicate(pack, source, megabytes * 1_000_000)
        started_s = time.perf_counter()
        command = [sys.executable, "-c", "import sys; from ingest import line; line(*sys.argv[1:])"]
        process = subprocess.Popen(
            [*command, str(source), str(work / f"out-{megabytes}"), str(arguments.processes)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        )
        peak = Peak(process.pid)
        code = process.wait()
        peak.stop()
        if code:
            sys.exit(f"ingest of {megabytes} MB failed")
        taken = time.perf_counter() - started_s
        out[f"{megabytes} MB"] = {
            "documents": count,
            "bytes": size,
            "peak_pss_mb": round(peak.pss / 1e6, 1),
            "largest_process_rss_mb": round(peak.rss / 1e6, 1),
            "seconds": round(taken, 1),
            "mb_per_s": round(size / taken / 1e6, 2),
        }
        print(megabytes, "MB:", out[f"{megabytes} MB"], flush=True)
        shutil.rmtree(source)
        shutil.rmtree(work / f"out-{megabytes}")
    return out


class Peak:
    """Watches a process tree: proportional memory (PSS) of all together, resident memory of the largest."""

    def __init__(self, pid: int) -> None:
        self.pss = self.rss = 0
        self._root = psutil.Process(pid)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            total = 0
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    found = process.memory_full_info()
                    total += found.pss
                    self.rss = max(self.rss, found.rss)
            except psutil.NoSuchProcess:
                continue
            self.pss = max(self.pss, total)

    def stop(self) -> None:
        """End watching."""
        self._stopped.set()
        self._thread.join()


def copy_markdown(pack: Path, target: Path, limit: int) -> int:
    """Put the first `limit` Markdown files of the pack flat into `target`; return their bytes."""
    target.mkdir(parents=True)
    size = 0
    for number, path in enumerate(sorted(pack.rglob("*.md"))[:limit]):
        data = path.read_bytes()
        (target / f"{number:06d}.md").write_bytes(data)
        size += len(data)
    return size


def replicate(pack: Path, target: Path, wanted: int) -> tuple[int, int]:
    """Fill `target` with the pack's Markdown, again and again with other words, up to `wanted` bytes."""
    paths = sorted(pack.rglob("*.md"))
    count = size = 0
    for copy in range(1000):
        folder = target / f"copy-{copy}"
        folder.mkdir(parents=True)
        for number, path in enumerate(paths):
            if size >= wanted:
                return count, size
            words = path.read_text(encoding="utf-8", errors="replace").split(" ")
            if copy:  # every third word differs between copies, so that none is a near copy of another
                words[::3] = [f"{word}{copy}" for word in words[::3]]
            data = " ".join(words).encode()
            (folder / f"{number:06d}.md").write_bytes(data)
            count, size = count + 1, size + len(data)
    return count, size


def keep(part: str, found: dict[str, object]) -> None:
    """Add `found` to the results, with the machine it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "ingest.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results["machine"] = machine()
    results[part] = found
    path.write_text(msgspec.json.format(msgspec.json.encode(results), indent=2).decode() + "\n")


def machine() -> dict[str, object]:
    """Describe this machine."""
    model = next(
        (row.split(":")[1].strip() for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row), ""
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def write_table() -> None:
    """Print the results as Markdown, and keep them beside the JSON."""
    results = json.loads((RESULTS / "ingest.json").read_text())
    lines = ["# Ingest", "", " ".join(f"{name} {value};" for name, value in results["machine"].items()), ""]
    if speed := results.get("speed"):
        lines += [
            f"{speed['documents']} Markdown files, {speed['bytes'] / 1e6:.1f} MB, {speed['processes']} processes.",
            "",
            "| | documents/s (least - most) | MB/s | kept | ours is faster by |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, side in speed["sides"].items():
            least, most = side["documents_per_s_range"]
            ratio = speed["ratio_documents_per_s"].get(name, "")
            lines.append(
                f"| {name} | {side['documents_per_s']} ({least} - {most}) | {side['mb_per_s']} | {side['kept']} "
                f"| {ratio} |"
            )
        lines.append("")
    if memory := results.get("memory"):
        lines += [
            "| input | documents | peak PSS, all processes | largest process | MB/s |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, row in memory.items():
            lines.append(
                f"| {name} | {row['documents']} | {row['peak_pss_mb']} MB | {row['largest_process_rss_mb']} MB "
                f"| {row['mb_per_s']} |"
            )
        lines.append("")
    text = "\n".join(lines)
    (RESULTS / "ingest.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
