"""What signing costs the writer, and how fast a big ledger is verified and one record of it is proven.

    python benchmarks/proofs.py [--records 1000000] [--folder DIR] [--build]

`--build` only writes the log (kept in DIR between runs). Results go to benchmarks/results/proofs.json and proofs.md.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from ledger import RESULTS, drive, entry, machine
from tokenworks.core.clock import SystemClock
from tokenworks.ledger.checkpoint import LogSigner
from tokenworks.ledger.log import Log
from tokenworks.ledger.note import SignerKey
from tokenworks.ledger.proof import check_entry
from tokenworks.ledger.proving import entry_proof
from tokenworks.ledger.signing import ensure_ledger_key
from tokenworks.ledger.tiles import Tiles
from tokenworks.ledger.verify import verify
from tokenworks.ledger.writer import Ledger

Row = dict[str, Any]
WRITER = "bench"
ALONE = Path(__file__).parents[1] / "docs" / "verifier" / "check_ledger.py"
PROOFS = 500


def build(folder: Path, records: int) -> SignerKey:
    """Write a log of `records` entries as a writer would, in large batches; go on where a run before ended."""
    key = ensure_ledger_key(folder / "keys")
    log = Log(folder / "ledger" / WRITER, SystemClock(), 16 << 20, LogSigner(key, WRITER))
    facts = msgspec.to_builtins(entry(0))
    while log.size < records:
        batch = []
        for number in range(log.size, min(records, log.size + 2000)):
            facts["request_id"] = f"req-{number:026d}"
            batch.append(msgspec.msgpack.encode(facts))
        while batch:
            batch = batch[log.append(batch) :]
    log.close()
    return key


def measure_writer(rounds: int, records: int) -> Row:
    """Measure durable records per second with and without a key, interleaved, 64 waiting."""
    entries, found = [entry(number) for number in range(records)], dict[str, list[Row]]()
    for number in range(rounds):
        for name in ("signed", "unsigned") if number % 2 else ("unsigned", "signed"):
            folder = Path(tempfile.mkdtemp())
            key = ensure_ledger_key(folder / "keys") if name == "signed" else None
            found.setdefault(name, []).append(asyncio.run(_drive(folder / "ledger", key, entries)))
            shutil.rmtree(folder)
    return found


async def _drive(folder: Path, key: SignerKey | None, entries: list[Any]) -> Row:
    with Ledger(folder, WRITER, key=key) as ledger:
        return await drive(ledger.record, entries, 64)


def measure_reading(folder: Path, records: int, key: SignerKey) -> Row:
    """Measure verification, the view of the tree, and proofs of records drawn at random."""
    row: Row = {"records": records}
    start = time.perf_counter()
    checked = verify(folder / "ledger", key=key.public)
    row["verify_per_s"] = records / (time.perf_counter() - start)
    assert checked.ok, checked.problems[:3]
    assert checked.signed == {WRITER: records}
    shutil.rmtree(folder / "views", ignore_errors=True)
    start = time.perf_counter()
    Tiles(folder / "ledger" / WRITER, folder / "views" / WRITER).reach(records)
    row["view_per_s"] = records / (time.perf_counter() - start)
    rng, prove, check, sizes = random.Random(5), list[float](), list[float](), list[int]()
    for _ in range(PROOFS):
        index = rng.randrange(records)
        start = time.perf_counter()
        proof = entry_proof(folder / "ledger", folder / "views", f"{WRITER}:{index}")
        prove.append(time.perf_counter() - start)
        start = time.perf_counter()
        assert check_entry(proof, key.public).index == index
        check.append(time.perf_counter() - start)
        sizes.append(len(proof))
    row |= {"prove_ms": _spread(prove, 1e3), "check_us": _spread(check, 1e6), "proof_bytes": max(sizes)}
    start = time.perf_counter()
    name = f"req-{records // 2:026d}"
    assert check_entry(entry_proof(folder / "ledger", folder / "views", name), key.public).entry["request_id"] == name
    row["prove_by_name_s"] = time.perf_counter() - start
    return row


def measure_alone(folder: Path, records: int, key: SignerKey) -> float:
    """Return records per second of the verifier that stands alone, its start included."""
    start = time.perf_counter()
    command = [sys.executable, str(ALONE), str(folder / "ledger" / WRITER), str(key.public)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return records / (time.perf_counter() - start)


def table(result: Row) -> str:
    """Return the result as Markdown."""
    about, row = result["machine"], result["reading"]
    writer = {name: [each["records_per_s"] for each in rows] for name, rows in result["writer"].items()}
    signed, unsigned = (statistics.median(writer[name]) for name in ("signed", "unsigned"))
    return "\n".join(
        [
            "# Proofs",
            "",
            f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}, load "
            f"{about['load']:.1f}; {row['records']:,} records of {about['record_bytes']} bytes in one log.",
            "",
            "| what | figure |",
            "| --- | --- |",
            f"| writer, 64 waiting, with a key | {signed:,.0f} records/s |",
            f"| the same without | {unsigned:,.0f} records/s (ratio {signed / unsigned:.2f}, "
            f"{len(writer['signed'])} rounds interleaved) |",
            f"| verify, signatures included | {row['verify_per_s']:,.0f} records/s |",
            f"| verify by the script that stands alone | {row['alone_per_s']:,.0f} records/s |",
            f"| view of the tree, made from scratch | {row['view_per_s']:,.0f} records/s |",
            f"| proof of one record, p50 / p99 | {row['prove_ms'][0]:.2f} / {row['prove_ms'][1]:.2f} ms |",
            f"| proof by the id of a request in the middle | {row['prove_by_name_s']:.2f} s |",
            f"| check of a proof, p50 / p99 | {row['check_us'][0]:,.0f} / {row['check_us'][1]:,.0f} us |",
            f"| size of a proof with its entry | {row['proof_bytes']:,} bytes |",
            "",
        ]
    )


def _spread(values: list[float], factor: float) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] * factor, ordered[len(ordered) * 99 // 100] * factor


def main() -> None:
    """Measure, write the results, show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--build", action="store_true")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    key = build(folder, options.records)
    if options.build:
        return
    result = {
        "machine": machine(folder),
        "writer": measure_writer(3, 40_000),
        "reading": measure_reading(folder, options.records, key),
    }
    result["reading"]["alone_per_s"] = measure_alone(folder, options.records, key)
    if options.folder is None:
        shutil.rmtree(folder)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "proofs.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    (RESULTS / "proofs.md").write_text(table(result), encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
