"""How many of the structured personal data of a labelled set the detectors find, how surely, and how fast.

    python benchmarks/detectors.py /tmp/tokenworks-data

Set: presidio-research's generated sentences, spans labelled by their generator (MIT). A span is found where a finding
of its kind overlaps it; a finding is false where it overlaps no span of its kind. Speed: the sentences as one text.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.line.ingest import detect

RESULTS = Path(__file__).parent / "results" / "detectors.json"
OF = {
    "CREDIT_CARD": "credit-card",
    "IBAN_CODE": "iban",
    "PHONE_NUMBER": "phone",
    "US_SSN": "us-ssn",
    "EMAIL_ADDRESS": "email",
    "IP_ADDRESS": "ip-address",
}
ROUNDS = 7


def main(folder: str) -> None:
    """Measure, print and keep the figures."""
    lines = (Path(folder) / "security-cases" / "presidio" / "pii-spans.jsonl").read_bytes().splitlines()
    rows = [msgspec.json.decode(line) for line in lines]
    quality = measure(rows)
    text = "\n".join(row["full_text"] for row in rows)
    speed = sorted(len(text) / seconds(text) for _ in range(ROUNDS))
    found = {
        "set": "presidio-research pii-spans.jsonl",
        "sentences": len(rows),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "kinds": quality,
        "characters": len(text),
        "characters_per_s": {"median": round(speed[ROUNDS // 2]), "min": round(speed[0]), "max": round(speed[-1])},
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{'kind':<12} {'spans':>6} {'recall':>8} {'precision':>10}")
    for kind, one in quality.items():
        print(f"{kind:<12} {one['spans']:>6} {one['recall']:>8.4f} {one['precision']:>10.4f}")
    print(f"{speed[ROUNDS // 2] / 1e6:.1f} M characters/s (median of {ROUNDS}, {speed[0] / 1e6:.1f} the slowest)")


def measure(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return spans, recall and precision by kind and of all together, with 95 % Wilson bounds of all together."""
    hit, missed, right, false = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        found = [one for one in detect.find(row["full_text"]) if one.kind in OF.values()]
        spans = [
            (OF[s["entity_type"]], s["start_position"], s["end_position"])
            for s in row["spans"]
            if s["entity_type"] in OF
        ]
        for kind, start, end in spans:
            seen = any(one.kind == kind and one.start < end and one.end > start for one in found)
            (hit if seen else missed)[kind] += 1
        for one in found:
            true = any(kind == one.kind and one.start < end and one.end > start for kind, start, end in spans)
            (right if true else false)[one.kind] += 1
    kinds = {kind: _figures(hit[kind], missed[kind], right[kind], false[kind]) for kind in OF.values()}
    return {**kinds, "all": _figures(hit.total(), missed.total(), right.total(), false.total())}


def _figures(hit: int, missed: int, right: int, false: int) -> dict[str, float]:
    return {
        "spans": hit + missed,
        "missed": missed,
        "false": false,
        "recall": round(hit / (hit + missed), 4),
        "recall_low_95": round(wilson_low(hit, hit + missed), 4),
        "precision": round(right / (right + false), 4),
        "precision_low_95": round(wilson_low(right, right + false), 4),
    }


def wilson_low(successes: int, n: int, z: float = 1.959964) -> float:
    """Return the lower 95 % bound of a share (Wilson 1927)."""
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n)


def seconds(text: str) -> float:
    """Return how long one look at `text` takes."""
    begun = time.perf_counter()
    detect.find(text)
    return time.perf_counter() - begun


def cpu() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main(sys.argv[1])
