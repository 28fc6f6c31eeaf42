"""Durable records per second beside SQLite (WAL, synchronous=FULL): same records, same group commit, same disk.

    python benchmarks/ledger.py [--rounds 5] [--records 60000] [--folder DIR]

Rounds are interleaved, so that a disk in a bad mood is in it for both. Results go to benchmarks/results/ledger.json
and .md. Put `--folder` on the disk that counts: the default is below the system's temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.verify import verify
from tokenworks.ledger.writer import Ledger

RESULTS = Path(__file__).parent / "results"
IN_FLIGHT = (1, 64, 256)
Record = Callable[[RequestEntry], Awaitable[object]]
Row = dict[str, Any]


def entry(number: int) -> RequestEntry:
    """Return a request as the gateway records it: about 420 bytes."""
    return RequestEntry(
        at=1.7e9 + number / 1000,
        request_id=f"req-{number:026d}",
        endpoint="chat.completions",
        outcome="ok",
        status=200,
        tenant="clinic",
        key_id="key-01jd0q3v5x",
        model="route",
        version="route@3",
        engine="openvino",
        label="internal",
        prompt_tokens=120,
        completion_tokens=30,
        ttft_s=0.012,
        latency_s=0.34,
        salt=f"{number:032x}",
        prompt_digest="a" * 64,
        answer_digest="b" * 64,
    )


class SqliteLog:
    """The peer: one table, WAL, synchronous=FULL, everything that waits committed together by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encode = msgspec.msgpack.Encoder().encode
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._wake = threading.Condition()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    async def record(self, record: RequestEntry) -> None:
        """Return once the record is durable."""
        future = self._loop.create_future()
        with self._wake:
            self._waiting.append((self._encode(record), future))
            self._wake.notify()
        await future

    def close(self) -> None:
        """Stop the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                batch, self._waiting = self._waiting, []
            if not batch:
                break
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO log (payload) VALUES (?)", [(payload,) for payload, _ in batch])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [future for _, future in batch])
        connection.close()


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


async def drive(record: Record, entries: list[RequestEntry], in_flight: int) -> Row:
    """Record all entries with `in_flight` waiting at any time; return rate and latency of waiting."""
    rest, waits = iter(entries), []

    async def lane() -> None:
        for item in rest:
            start = time.perf_counter()
            await record(item)
            waits.append(time.perf_counter() - start)

    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[lane() for _ in range(in_flight)])
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    waits.sort()
    return {
        "records_per_s": len(entries) / elapsed,
        "cpu_us": cpu / len(entries) * 1e6,
        "wait_p50_us": waits[len(waits) // 2] * 1e6,
        "wait_p99_us": waits[len(waits) * 99 // 100] * 1e6,
    }


async def measure(name: str, folder: Path, entries: list[RequestEntry], in_flight: int) -> Row:
    """Measure one way to keep records, in a fresh place."""
    if name == "tokenworks":
        ledger = Ledger(folder, "bench")
        try:
            return await drive(ledger.record, entries, in_flight)
        finally:
            ledger.close()
    log = SqliteLog(folder / "log.db")
    try:
        return await drive(log.record, entries, in_flight)
    finally:
        log.close()


def measure_reading(folder: Path, entries: list[RequestEntry]) -> Row:
    """Measure verification, reading and texts over a finished log."""
    with Ledger(folder, "bench") as ledger:
        for future in [ledger.submit(item) for item in entries]:
            future.result()
    start, cpu = time.perf_counter(), time.process_time()
    checked = verify(folder)
    verify_s, verify_cpu_s = time.perf_counter() - start, time.process_time() - cpu
    assert checked.ok, checked.problems
    start = time.perf_counter()
    count = sum(1 for _ in read(folder))
    read_s = time.perf_counter() - start
    prompt, answer = b"Which department handles a lost card abroad? " * 20, b"cards-and-accounts " * 10
    with Bodies(folder / "bodies") as bodies:
        start = time.perf_counter()
        for number in range(5000):
            bodies.put(f"req-{number:026d}", prompt, answer)
        put_s = time.perf_counter() - start
    return {
        "verify_per_s": count / verify_s,
        "verify_cpu_us": verify_cpu_s / count * 1e6,
        "read_per_s": count / read_s,
        "body_put_us": put_s / 5000 * 1e6,
    }


def run(rounds: int, records: int, place: Path | None) -> Row:
    """Measure every way `rounds` times, interleaved."""
    entries = [entry(number) for number in range(records)]
    rows: dict[str, list[Row]] = {}
    for number in range(rounds):
        for in_flight in IN_FLIGHT:
            some = entries if in_flight > 1 else entries[: records // 40]
            for name in ("tokenworks", "sqlite") if number % 2 else ("sqlite", "tokenworks"):
                folder = Path(tempfile.mkdtemp(dir=place))
                row = asyncio.run(measure(name, folder, some, in_flight))
                rows.setdefault(f"{name} {in_flight}", []).append(row)
                shutil.rmtree(folder)
        folder = Path(tempfile.mkdtemp(dir=place))
        rows.setdefault("reading", []).append(measure_reading(folder, entries))
        shutil.rmtree(folder)
    return {"machine": machine(place), "rounds": rounds, "records": records, "rows": rows}


def machine(place: Path | None) -> Row:
    """Describe the machine and what else it was doing."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "folder": str(place or tempfile.gettempdir()),
        "load": os.getloadavg()[0],
        "record_bytes": len(msgspec.msgpack.encode(entry(0))),
    }


def table(result: Row) -> str:
    """Return the result as Markdown: median (min - max)."""
    about = result["machine"]
    lines = [
        "# Ledger",
        "",
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}, load "
        f"{about['load']:.1f}; {about['record_bytes']}-byte records, group commit for both, {result['rounds']} rounds "
        "interleaved; median (min - max). Processor time is what a record costs where others use the machine too.",
        "",
        "| waiting at once | ledger, records/s | SQLite WAL FULL, records/s | ratio | ledger wait p50 / p99 | SQLite "
        "| ledger processor time | SQLite |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for in_flight in IN_FLIGHT:
        ours, peer = result["rows"][f"tokenworks {in_flight}"], result["rows"][f"sqlite {in_flight}"]
        ratio = _median(ours, "records_per_s") / _median(peer, "records_per_s")
        rates = f"{_span(ours, 'records_per_s')} | {_span(peer, 'records_per_s')}"
        cpu = f"{_median(ours, 'cpu_us'):.1f} us | {_median(peer, 'cpu_us'):.1f} us"
        lines.append(f"| {in_flight} | {rates} | {ratio:.2f} | {_waits(ours)} | {_waits(peer)} | {cpu} |")
    reading = result["rows"]["reading"]
    lines += [
        "",
        f"Verify {_span(reading, 'verify_per_s')} records/s ({_median(reading, 'verify_cpu_us'):.2f} us of processor "
        "time each), "
        f"read and decode {_span(reading, 'read_per_s')} records/s, one core. Keeping prompt and answer (1.1 kB) "
        f"beside the log {_span(reading, 'body_put_us')} us.",
        "",
    ]
    return "\n".join(lines)


def _median(rows: list[Row], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def _span(rows: list[Row], name: str) -> str:
    values = [row[name] for row in rows]
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} - {max(values):,.0f})"


def _waits(rows: list[Row]) -> str:
    return f"{_median(rows, 'wait_p50_us'):,.0f} / {_median(rows, 'wait_p99_us'):,.0f} us"


def main() -> None:
    """Measure, write the results, show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    result = run(options.rounds, options.records, options.folder)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ledger.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    (RESULTS / "ledger.md").write_text(table(result), encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
