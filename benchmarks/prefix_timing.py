"""Can a caller tell by the clock what others have asked? Answers' times on others' prompts beside fresh ones.

    python benchmarks/prefix_timing.py [--rounds 150] [--folder DIR] [--engine openvino]

The gateway is `tokenworks serve` with every duty on, its engine the embedded one with its prefix cache. In each
round, in random order, the same caller asks for one token after prompts of about 250: one that nobody has asked
before, one that another tenant has just asked, one that it asked before another prompt, one that its own tenant has
just asked under another label, and, as the control, one that it has just asked itself. Before each, somebody asks
something just as long, so that only the prompt differs: libraries keep what they worked out for the shape of the step
before. Fresh prompts behind one of another length say what that alone comes to: behind an answer of one token, where
the step before was the reading of its prompt, and behind one of two, where it was not. The classifier says "asked
before" below any threshold: its AUC over thresholds is the probability that an answer to an asked prompt comes sooner
than one to a fresh prompt (Mann-Whitney; Fawcett 2006), each arm beside the fresh prompts behind answers of as many
tokens. Intervals: percentile bootstrap over rounds.
Writes results/prefix-timing.json and .md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from generation import Gateway, Prompts, make_model
from tokenworks.core.label import Label
from tokenworks.factory import Factory
from tokenworks.factory.doctor import machine


class Arm(NamedTuple):
    """What is asked before a prompt is timed."""

    who: str = "other"
    label: str = "internal"
    same: bool = True  # the very prompt, else another
    alike: bool = True  # of as many tokens
    tokens: int = 1  # of the answer to it
    since: bool = False  # whether the same caller asks something else in between


FRESH, LONGER = "fresh", "fresh, behind an answer of two tokens"
ARMS = {
    FRESH: Arm(same=False),
    "another tenant's": Arm(),
    "another tenant's, and somebody's other prompt since": Arm(since=True),
    "another label's": Arm(who="caller", label="confidential"),
    "fresh, behind one of another length": Arm(same=False, alike=False),
    LONGER: Arm(same=False, tokens=2),
    "another tenant's, behind an answer of two tokens": Arm(tokens=2),
    "fresh, behind one of another length and an answer of two tokens": Arm(same=False, alike=False, tokens=2),
    "its own": Arm(who="caller"),
}
DRAWS = 2000
PIECES = 2  # of 126 tokens


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--engine", default="openvino")
    chosen = parser.parse_args()
    os.environ["TOKENWORKS_ENGINES__GENERATION"] = chosen.engine
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or make_model(Path(scratch) / "model")
        gateway = Gateway(folder, Path(scratch) / "home")
        try:
            times_s = measure(gateway, Path(scratch) / "home", Prompts(folder), chosen.rounds)
        finally:
            gateway.end()
    write(times_s, chosen)


def measure(gateway: Gateway, home: Path, prompts: Prompts, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round's answer, by arm."""
    with Factory(home=home, role="benchmark") as factory:
        keys = {who: factory.keys.create(who, clearance=Label.RESTRICTED)[0] for who in ("caller", "other")}
    rng = random.Random(0)
    callers = {who: Caller(gateway, key) for who, key in keys.items()}
    times_s: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(-5, rounds):  # the first five warm up
        for arm in rng.sample(list(ARMS), len(ARMS)):
            how = ARMS[arm]
            other, mine = pair(prompts, alike=how.alike)
            callers[how.who].ask(mine if how.same else other, how.label, tokens=how.tokens)
            if how.since:
                callers[how.who].ask(other, how.label)
            took_s = callers["caller"].ask(mine, "internal")
            if number >= 0:
                times_s[arm].append(took_s)
    return times_s


def pair(prompts: Prompts, *, alike: bool) -> tuple[str, str]:
    """Return two prompts that nobody has asked, as long as each other in tokens, or not."""
    mine = "".join(prompts.take(PIECES))
    while True:
        asked = "".join(prompts.take(PIECES))
        if (prompts.tokens(asked) == prompts.tokens(mine)) == alike:
            return asked, mine


class Caller:
    """Asks over one connection."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        where = urlsplit(gateway.url)
        self._http = http.client.HTTPConnection(where.hostname or "", where.port)
        self._model = gateway.model
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def ask(self, prompt: str, label: str, *, tokens: int = 1) -> float:
        """Return how long the answer took; while the engine starts, ask again."""
        body = {"model": self._model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        headers = {**self._headers, "x-tokenworks-label": label}
        while True:
            began_s = time.perf_counter()
            self._http.request("POST", "/v1/completions", json.dumps(body), headers)
            answer = self._http.getresponse()
            said = answer.read()
            if answer.status == 200:
                return time.perf_counter() - began_s
            if answer.status != 503:
                raise SystemExit(f"{answer.status}: {said[:500]!r}")
            time.sleep(0.2)


def auc(asked_s: np.ndarray, fresh_s: np.ndarray) -> float:
    """Return the probability that one of `asked_s` is shorter than one of `fresh_s`, ties counted half."""
    less = (asked_s[:, None] < fresh_s[None, :]).mean()
    return float(less + 0.5 * (asked_s[:, None] == fresh_s[None, :]).mean())


def interval(asked_s: np.ndarray, fresh_s: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of the AUC, rounds drawn with replacement (Efron 1979)."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(fresh_s), (DRAWS, len(fresh_s)))
    low, high = np.quantile([auc(asked_s[draw], fresh_s[draw]) for draw in draws], [0.025, 0.975])
    return float(low), float(high)


def write(times_s: dict[str, list[float]], chosen: argparse.Namespace) -> None:
    """Keep the figures as data and as a table, and print the table."""
    rows: list[dict[str, Any]] = []
    for arm, values in times_s.items():
        row: dict[str, Any] = {"prompt": arm, "median_ms": round(1e3 * statistics.median(values), 2)}
        fresh = np.array(times_s[FRESH if ARMS[arm].tokens == 1 else LONGER])
        if arm not in (FRESH, LONGER):
            low, high = interval(np.array(values), fresh)
            row |= {"auc": round(auc(np.array(values), fresh), 3), "low": round(low, 3), "high": round(high, 3)}
        rows.append(row)
    about = machine()
    found = {"engine": chosen.engine, "rounds": chosen.rounds, "rows": rows, "machine": about}
    lines = [
        "# Telling by the clock what others have asked",
        "",
        f"{about['cpu']}, {about['cores']} cores; engine {chosen.engine}, prompts of about 250 tokens, "
        f"{chosen.rounds} interleaved rounds. 0.5: the clock tells nothing.",
        "",
        "| prompt asked before | median ms | AUC | 95 % interval |",
        "|---|---:|---:|---|",
    ]
    for row in rows:
        told = f"{row['auc']:.3f} | {row['low']:.3f} to {row['high']:.3f}" if "auc" in row else " | "
        lines.append(f"| {row['prompt']} | {row['median_ms']} | {told} |")
    results = Path(__file__).parent / "results"
    (results / "prefix-timing.json").write_text(json.dumps(found, indent=1) + "\n")
    (results / "prefix-timing.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
