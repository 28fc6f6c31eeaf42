"""How long a whole turn takes on 10,000 items: of a classifier, and of the embedding model with clicks on documents.

    python benchmarks/turns.py [--kinds classify,embed] [--items 10000] [--data FOLDER]

classify: banking77, 1,000 gold items, 5 examples a class, every other question corrected. embed: the OpenSearch manual;
searches are the headings of its pages, and the page is what was clicked; the manual's own links are gold. In one
process, by `Factory.turn`: select, train, gate, release. The limit in the same run is what the trainer's budget alone
takes. Results: benchmarks/results/turns.json and .md.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from durable import machine
from tokenworks.core.task import read_task
from tokenworks.factory import Factory
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry

RESULTS = Path(__file__).parent / "results"
BAR_S, USERS, BUDGET_S = 300, 200, 90
TASK = """
[task]
name = "{kind}"
kind = "{kind}"
owner = "mailto:bench@example.org"
label = "internal"
[data]
{data}
[model]
base = "minilm"
budget = "{budget}s"
[check]
gold = "gold.jsonl"
margin = 0.05
[turn]
when = "never"
[turn.canary]
share = 0
"""
Asked = tuple[str, str, str]  # endpoint, what was asked, what would have been right


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def classify(folder: Path, data: Path, items: int) -> list[Asked]:
    """Write the task; return what users asked."""
    rows = []
    for split in ("train", "test"):
        with (data / "instruct-eval" / "banking77" / f"{split}.csv").open(newline="") as file:
            rows += [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    by_class: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_class.setdefault(row["label"], []).append(row)
    write_rows(folder / "examples.jsonl", [row for label in sorted(by_class) for row in by_class[label][:5]])
    rest = [row for row in rows if row not in itertools.chain.from_iterable(each[:5] for each in by_class.values())]
    write_rows(folder / "gold.jsonl", rest[:1000])
    return [("classify", row["text"], row["label"]) for row in rest[1000 : 1000 + items]]


def embed(folder: Path, data: Path, items: int) -> list[Asked]:
    """Write the task; return what users searched for."""
    root = data / "docs-enterprise"
    pages = root / "opensearch-docs"
    (folder / "docs").symlink_to(pages)
    links = [json.loads(line) for line in (root / "qrels-links" / "opensearch-docs.jsonl").read_text().splitlines()]
    gold = {(row["query"], row["target"]) for row in links if (pages / row["target"]).is_file()}
    chosen = random.Random(0).sample(sorted(gold), 500)
    write_rows(folder / "gold.jsonl", [{"query": query, "relevant": [f"docs/{target}"]} for query, target in chosen])
    asked = {query.lower() for query, _ in chosen}
    found = [(query, page) for query, page in _headings(pages) if query.lower() not in asked]
    random.Random(1).shuffle(found)
    return [("search", query, f"docs/{page}") for query, page in found[:items]]


def _headings(pages: Path) -> Iterator[tuple[str, str]]:
    """Yield each heading of the manual, and the first words of what stands below, with the page that it is on."""
    for path in sorted(pages.rglob("*.md")):
        text, page = path.read_text(errors="replace"), path.relative_to(pages).as_posix()
        for heading in dict.fromkeys(re.findall(r"^#{1,4}\s+(.{4,80})$", text, re.MULTILINE)):
            yield f"{heading.strip()} {path.stem.replace('-', ' ')}", page
        for line in re.findall(r"^([A-Z][^|<>{}`\[\]]{60,200}\.)", text, re.MULTILINE)[:8]:
            yield " ".join(line.split()[:10]), page


def live(factory: Factory, kind: str, asked: Sequence[Asked]) -> None:
    """Write requests and corrections down as the gateway does."""
    waiting = []
    for number, (endpoint, text, right) in enumerate(asked):
        request, feedback = f"req-{number:026d}", f"fb-{number:030d}"
        body = {"query": text} if endpoint == "search" else {"model": kind, "input": text}
        reply = {"data": [{"file_id": "docs/other", "filename": "other"}]}
        if endpoint == "classify":
            reply = {"data": [{"index": 0, "label": right, "probs": [0.4, 0.3, 0.3]}]}
        factory.bodies.put(request, msgspec.json.encode(body), msgspec.json.encode(reply))
        factory.bodies.put_correction(feedback, right)
        who = {"tenant": "default", "key_id": "key-1", "user": f"user-{number % USERS}"}
        at = time.time()
        waiting.append(
            factory.ledger.submit(
                RequestEntry(
                    at=at, request_id=request, endpoint=endpoint, outcome="ok", status=200, model=kind,
                    version=f"{kind}@1", label="internal", latency_s=0.01, **who,
                )
            )
        )  # fmt: skip
        correction = FeedbackEntry(at=at, feedback_id=feedback, request_id=request, has_correction=True, **who)
        waiting.append(factory.ledger.submit(correction))
    for each in waiting:
        each.result()


def turn(kind: str, data: Path, items: int, folder: Path) -> dict[str, Any]:
    """Make a first model, live through `items` requests, turn once; return what was measured."""
    make = {"classify": classify, "embed": embed}[kind]
    asked = make(folder, data, items)
    what = 'sources = ["docs"]' if kind == "embed" else 'examples = "examples.jsonl"'
    (folder / f"{kind}.toml").write_text(TASK.format(kind=kind, data=what, budget=BUDGET_S))
    with Factory(home=folder / "home") as factory:
        task = factory.remember(read_task(folder / f"{kind}.toml"))
        factory.make(task)
        if factory.catalog.releases.current(kind) is None:
            factory.promote(f"{kind}@1", reason="for the benchmark")
        live(factory, kind, asked)
        print(f"{kind}: {len(asked):,} items; turning", flush=True)
        started = time.monotonic()
        state = factory.turn(kind)
        seconds = time.monotonic() - started
        story = factory.turn_story(state)
    print("\n".join(story), flush=True)
    return {
        "items": len(asked), "seconds": seconds, "steps": state.seconds, "outcome": state.outcome,
        "counts": state.selection["counts"], "says": state.says, "budget_s": BUDGET_S, "story": story,
    }  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# A turn on 10,000 items",
        "",
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores; bar {BAR_S} s. The trainer's budget is "
        f"{BUDGET_S} s, which is the limit: the rest is selection, the gate and bookkeeping.",
        "",
        "| task | items | turn s | of the bar | of the budget | select s | train s | gate s | outcome |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, one in report["turns"].items():
        steps = " | ".join(f"{one['steps'].get(step, 0):.0f}" for step in ("select", "train", "gate"))
        lines.append(
            f"| {kind} | {one['items']:,} | {one['seconds']:.0f} | {one['seconds'] / BAR_S:.2f} | "
            f"{one['seconds'] / one['budget_s']:.2f} | {steps} | {one['outcome']} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Turn, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default="classify,embed")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--data", default=os.environ.get("TOKENWORKS_DATA", f"{tempfile.gettempdir()}/tokenworks-data"))
    options = parser.parse_args()
    data = Path(options.data)
    if not (data / "docs-enterprise").is_dir():
        print(f"turns: skipped, no data below {data}; unpack shared/data or give --data")
        return
    turns = {}
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as place:
            turns[kind] = turn(kind, data, options.items, Path(place))
    kept = RESULTS / "turns.json"
    if kept.exists():  # kinds not run keep their figures
        turns = {**json.loads(kept.read_text())["turns"], **turns}
    report = {"machine": machine(), "turns": turns}
    RESULTS.mkdir(exist_ok=True)
    kept.write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "turns.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
