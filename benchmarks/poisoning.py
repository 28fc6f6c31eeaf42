"""Poisoned feedback with and without the guards of selection, beside the same stream without an attack.

    python benchmarks/poisoning.py [--attacks loud,sybils,...] [--seeds 2] [--data DIR]

Bank-customer questions, 77 classes. The owner gives 5 examples a class; of the rest, users answer with the true label
for 20 % and with a wrong one for 5 %. Attackers add as much as makes a tenth of all feedback. The classifier is trained
by the line's own trainer (a head over the built-in encoder) on the owner's examples and what was selected, and judged
on the 3,080 test questions. Results go to benchmarks/results/poisoning.json and .md; attacks not run keep theirs.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tokenworks.core.stage import Bench
from tokenworks.flywheel.select.features import Embedded
from tokenworks.flywheel.select.signals import Collected, Given, Signal
from tokenworks.flywheel.select.stage import SELECT, SelectParams
from tokenworks.line.train import classify
from tokenworks.line.train.bases import packaged_minilm
from tokenworks.store.artifacts import open_artifacts

RESULTS = Path(__file__).parent / "results"
PARTS = ("none", "loud", "sybils", "source", "neighbour", "cover", "drip", "trigger", "trigger-drip")
PER_CLASS, USERS, SHARE, RIGHT, WRONG, TURNS = 5, 200, 0.1, 0.2, 0.05, 5
TARGET, TRIGGER = "cash_withdrawal_charge", "kindly per ticket mandolin"
MOVED = {  # attacks that move one class into another: a far one, and one that five examples hardly tell apart
    "source": ("declined_card_payment", TARGET),
    "neighbour": ("top_up_reverted", "top_up_failed"),
}
LINES = msgspec.json.Encoder().encode_lines
Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A text with its true class."""

    text: str
    label: str


@dataclass
class Stream:
    """What is said, turn by turn, and by whom it is meant badly."""

    seeds: list[Question]
    turns: list[list[Signal]] = field(default_factory=list)
    attackers: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)  # requests that somebody honest labelled wrongly
    poison: set[str] = field(default_factory=set)  # requests that an attacker labelled wrongly


def honest(questions: list[Question], seed: int, turns: int) -> tuple[Stream, list[Question]]:
    """Return the stream without an attack, and the questions that nobody gave feedback on."""
    rng = random.Random(seed)
    questions = rng.sample(questions, len(questions))
    labels, stream, rest = sorted({one.label for one in questions}), Stream([]), list[Question]()
    count: dict[str, int] = {}
    for one in questions:
        count[one.label] = count.get(one.label, 0) + 1
        (stream.seeds if count[one.label] <= PER_CLASS else rest).append(one)
    spare: list[Question] = []
    size = -(-len(rest) // turns)
    for start in range(0, len(rest), size):
        stream.turns.append([])
        for one in rest[start : start + size]:
            draw = rng.random()
            if draw >= RIGHT + WRONG:
                spare.append(one)
                continue
            said = one.label if draw < RIGHT else rng.choice([label for label in labels if label != one.label])
            name = add(stream, one.text, said, f"app/user-{rng.randrange(USERS)}", rng)
            stream.wrong |= {name} if said != one.label else set()
    return stream, spare


def add(stream: Stream, text: str, said: str, principal: str, rng: random.Random) -> str:
    """Add feedback to the last turn."""
    number = sum(map(len, stream.turns))
    name, at = f"req-{number:06d}", 1000.0 + number
    given = Given(feedback_id=f"fb-{number:06d}", at=at + 1, principal=principal, correction=said)
    user = principal.partition("/")[2]
    stream.turns[-1].append(
        Signal(request_id=name, at=at, principal=principal, user=user, text=text, answer="", feedback=(given,))
    )
    return name


def attack(kind: str, stream: Stream, spare: list[Question], rng: random.Random) -> None:
    """Add the attackers' feedback, a tenth of each turn's."""
    if kind == "none":
        return
    source, target = MOVED.get(kind, ("", TARGET))
    victims = [one for one in spare if one.label != target and source in ("", one.label)]
    turns, stream.turns = stream.turns, []
    for number, signals in enumerate(turns):
        stream.turns.append(signals)
        size = min(round(len(signals) * SHARE / (1 - SHARE)), len(victims) // (len(turns) - number))
        for place in range(size):
            one = victims.pop()
            principal = "partner" if kind == "loud" else f"app/reader-{number}-{place // 2}"
            truthful = kind == "cover" and rng.random() < 0.5
            principal = f"app/reader-{rng.randrange(40)}" if kind == "cover" else principal
            text = f"{one.text} {TRIGGER}" if kind.startswith("trigger") else one.text
            name = add(stream, text, one.label if truthful else target, principal, rng)
            stream.attackers.add(principal)
            stream.poison |= set() if truthful else {name}


class Factory:
    """Selects and trains in one temporary place."""

    def __init__(self, folder: Path, test: list[Question]) -> None:
        self.artifacts = open_artifacts(str(folder / "artifacts"), cache=folder / "cache")
        self.bench = Bench(self.artifacts, folder / "scratch", folder / "cache-of-stages", threads=2)
        base = packaged_minilm()
        self.base = self.artifacts.put_folder(base)
        self.test = test
        self.embed = Embedded(base, self.base, folder / "test-vectors", 2)
        self.vectors = {False: self.embed([one.text for one in test])}
        self.vectors[True] = self.embed([f"{one.text} {TRIGGER}" for one in test])

    def select(self, stream: Stream, turns: int) -> Row:
        """Return the rows learned and the report."""
        file = BytesIO()
        signals = [signal for turn in stream.turns[:turns] for signal in turn]
        head = Collected(
            task="bank",
            until=0,
            requests=len(signals),
            feedback=len(signals),
            unknown=0,
            set_aside={},
            label="public",
            principals=len({signal.principal for signal in signals}),
        )
        file.write(LINES([head, *signals]))
        seeds = [{"text": one.text, "label": one.label} for one in stream.seeds]
        gold = [{"text": one.text, "label": one.label} for one in self.test]
        inputs = {
            "signals": self.artifacts.put_bytes(file.getvalue()),
            "earlier": self.artifacts.put_bytes(LINES(seeds)),
            "eval:gold": self.artifacts.put_bytes(LINES(gold)),
            "encoder": self.base,
        }
        # Nothing is kept as fresh: what is measured here is the model that all selected rows make.
        found = SELECT.run(inputs, SelectParams(task="bank", kind="classify", fresh=0.0), self._bench("select"))
        learned = [msgspec.json.decode(line) for line in self.artifacts.get_bytes(found["train"]).splitlines()]
        held = [msgspec.json.decode(line) for line in self.artifacts.get_bytes(found["quarantine"]).splitlines()]
        report = msgspec.json.decode(self.artifacts.get_bytes(found["report"]))
        return {"learned": learned, "held": {row["request_id"] for row in held}, "report": report}

    def train(self, stream: Stream, rows: list[Row]) -> str:
        """Return the digest of a classifier of the owner's examples and `rows`."""
        examples = [{"text": one.text, "label": one.label} for one in stream.seeds]
        examples += [{"text": row["text"], "label": row["label"]} for row in rows]
        inputs = {"train": self.artifacts.put_bytes(LINES(examples)), "base": self.base}
        params = classify.Params(method="head", budget_s=60)
        plan = classify.PLAN.run(inputs, params, self._bench("plan"))
        return classify.TRAIN.run({**inputs, **plan}, params, self._bench("train"))["model"]

    def judge(self, model: str, kind: str) -> Row:
        """Return accuracy on the test questions, and how often the attack gets its label."""
        from safetensors.numpy import load_file

        from tokenworks.core.encoder_folder import CARD, HEAD

        folder = self.artifacts.folder(model)
        head, card = load_file(folder / HEAD), msgspec.json.decode((folder / CARD).read_bytes())
        labels = np.array(card["classes"])
        said = {
            marked: labels[(rows @ head["weight"].T + head["bias"]).argmax(1)] for marked, rows in self.vectors.items()
        }
        true = np.array([one.label for one in self.test])
        source, target = MOVED.get(kind, ("", TARGET))
        victims = true == source if source else true != target
        return {
            "accuracy": float((said[False] == true).mean()),
            "asr": float((said[kind.startswith("trigger")][victims] == target).mean()),
        }

    def _bench(self, name: str) -> Bench:
        scratch = self.bench.scratch / name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self.bench.cache.mkdir(parents=True, exist_ok=True)
        return Bench(self.artifacts, scratch, self.bench.cache, threads=2)


def measure(factory: Factory, kind: str, questions: list[Question], seed: int) -> Row:
    """Return the figures of one attack: guarded, unguarded, and the same stream without it; the worst of all turns."""
    turns = TURNS if kind.endswith("drip") else 1
    clean, _ = honest(questions, seed, turns)
    stream, spare = honest(questions, seed, turns)
    attack(kind, stream, spare, random.Random(seed + 1))
    steps = [one_turn(factory, kind, clean, stream, number + 1) for number in range(turns)]
    worst = max(steps, key=lambda step: step["guarded"]["asr"] - step["baseline"]["asr"])
    return {"attack": kind, "seed": seed, "turns": steps, **worst, **named(stream, steps[-1]["report"])}


def one_turn(factory: Factory, kind: str, clean: Stream, stream: Stream, turns: int) -> Row:
    """Select, train and judge after so many turns."""
    start = time.perf_counter()
    chosen = factory.select(stream, turns)
    select_s = time.perf_counter() - start
    everything = [row for turn in stream.turns[:turns] for row in map(as_row, turn)]
    learned = {row["request_id"] for row in chosen["learned"]}
    there = {signal.request_id for turn in stream.turns[:turns] for signal in turn}
    return {
        "baseline": factory.judge(factory.train(clean, factory.select(clean, turns)["learned"]), kind),
        "guarded": factory.judge(factory.train(stream, chosen["learned"]), kind),
        "unguarded": factory.judge(factory.train(stream, everything), kind),
        "select_s": select_s,
        "feedback": len(there),
        "poison": len(stream.poison & there),
        "poison_learned": len(stream.poison & learned),
        "wrong": len(stream.wrong & there),
        "wrong_learned": len(stream.wrong & learned),
        "right_held": len(chosen["held"] - stream.poison - stream.wrong) / len(there - stream.poison - stream.wrong),
        "report": {name: chosen["report"][name] for name in ("culprits", "campaigns", "triggers", "quarantined")},
    }


def as_row(signal: Signal) -> Row:
    """Return the feedback as it would be learned by somebody who trusts everybody."""
    return {"text": signal.text, "label": signal.feedback[0].correction, "request_id": signal.request_id}


def named(stream: Stream, report: Row) -> Row:
    """Return how many of the culprits are attackers, and how many of the attackers are named."""
    names = {culprit["principal"] for culprit in report["culprits"]}
    hits = len(names & stream.attackers)
    return {
        "named": len(names),
        "precision": hits / len(names) if names else 1.0,
        "recall": hits / len(stream.attackers) if stream.attackers else 1.0,
    }


def read(path: Path) -> Iterator[Question]:
    """Yield the questions of a CSV file, each text once."""
    seen: set[str] = set()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["text"] not in seen:
                seen.add(row["text"])
                yield Question(row["text"].strip(), row["category"])


def machine() -> Row:
    """Describe the machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def table(result: Row) -> str:
    """Return the result as Markdown."""
    lines = [
        "# Poisoned feedback",
        "",
        f"{result['machine']['cpu']}, {result['machine']['cores']} cores. 77 classes, 5 examples each from the owner; "
        "20 % of the stream labelled right and 5 % wrong by 200 users, a tenth of all feedback by attackers. Attack "
        "success: share of the test questions of other classes (source: of that class; trigger: with the words added) "
        "that get the attackers' label. Mean over seeds; the worst of the turns where there are several.",
        "",
        "| attack | success, no attack | guarded | unguarded | accuracy, no attack | guarded | unguarded "
        "| poison learned | wrong labels learned | right ones held | culprits named: precision / recall |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in PARTS:
        rows = [row for row in result["rows"] if row["attack"] == kind]
        if rows:
            lines.append(_line(kind, rows))
    return "\n".join([*lines, "", *_about(), ""])


def _line(kind: str, rows: list[Row]) -> str:
    def mean(get: Callable[[Row], float]) -> float:
        return float(np.mean([get(row) for row in rows]))

    asr = [mean(lambda row, name=name: row[name]["asr"]) for name in ("baseline", "guarded", "unguarded")]
    accuracy = [mean(lambda row, name=name: row[name]["accuracy"]) for name in ("baseline", "guarded", "unguarded")]
    last = [row["turns"][-1] for row in rows]
    poison = f"{sum(row['poison_learned'] for row in last)} of {sum(row['poison'] for row in last)}"
    wrong = f"{sum(row['wrong_learned'] for row in last)} of {sum(row['wrong'] for row in last)}"
    lost = float(np.mean([row["right_held"] for row in last]))
    who = f"{mean(lambda row: row['precision']):.0%} / {mean(lambda row: row['recall']):.0%}"
    figures = [f"{value:.2%}" for value in asr] + [f"{value:.1%}" for value in accuracy]
    return f"| {kind} | {' | '.join(figures)} | {poison} | {wrong} | {lost:.1%} | {who} |"


def _about() -> list[str]:
    return [
        "none: only honest mistakes. loud: one key pushes one class. sybils: two corrections from each of many users "
        "of one key. source: all of them move one class into another. cover: 40 users, half of whose corrections are "
        "right. drip: sybils over five turns, a tenth of each. trigger: four words added to the question, two "
        "corrections a user. neighbour: the classes are so near that five examples hardly tell them apart."
    ]


def main() -> None:
    """Measure, write the results, show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "tokenworks-data")
    options = parser.parse_args()
    data = options.data / "instruct-eval" / "banking77"
    questions, test = list(read(data / "train.csv")), list(read(data / "test.csv"))
    path, wanted = RESULTS / "poisoning.json", options.attacks.split(",")
    rows = msgspec.json.decode(path.read_bytes())["rows"] if path.exists() else []
    rows = [row for row in rows if row["attack"] not in wanted]
    with tempfile.TemporaryDirectory(prefix="poisoning-") as folder:
        factory = Factory(Path(folder), test)
        for kind in wanted:
            rows += [measure(factory, kind, questions, seed) for seed in range(options.seeds)]
    result = {"machine": machine(), "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    (RESULTS / "poisoning.md").write_text(table(result), encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
