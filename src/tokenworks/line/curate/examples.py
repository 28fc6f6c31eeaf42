"""Stage `examples`: a file of examples becomes what is trained on and what is measured on, and they share nothing.

Reads the files as streams, several times; what stays in memory is some 150 bytes a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.curate import _survey
from tokenworks.line.curate._corrections import Corrections, read_corrections
from tokenworks.line.curate._examples_report import Account, ClassCount, Contradiction, ExamplesReport, account_of
from tokenworks.line.curate._formats import Row
from tokenworks.line.curate._survey import ExamplesFile, Survey, unit_of
from tokenworks.line.curate._texts import HeldOut, NearIndex, key_of

VERSION = "2"
_LISTED = 100  # contradictions and disputes written out in the report; all are counted
_encode = msgspec.json.Encoder().encode


class ExamplesParams(msgspec.Struct, frozen=True, kw_only=True):
    """What the examples are for, and how they are divided."""

    task: str
    kind: str  # classify | extract | chat
    examples_name: str = "examples"  # as the user knows the files: errors name them
    gold_name: str = "gold"
    corrections_name: str = "corrections"
    held_out: float = 0.2  # share that becomes gold where no gold file is given
    fresh: float = 0.2  # share of the corrections that is only measured on
    seed: int = 0
    label: str = "internal"  # data class of the examples, passed on in the report
    few: int = 5  # a class with fewer training examples is named in the report
    near: float = 0.9  # Jaccard similarity of 4-grams from which two texts with one answer are the same


def prepare(inputs: Mapping[str, str], params: ExamplesParams, bench: Bench) -> Outputs:
    """Divide the examples; raise `DataError` naming file, line and the way out for what cannot be meant.

    inputs: "examples", optional "gold", "corrections", "fresh" (blobs; "fresh" is the part of the corrections that is
    only measured on: without it a share is taken by hash). outputs: "train", "gold", "fresh" (JSONL blobs),
    "report" (`ExamplesReport`). Of several corrections of a text the latest wins; it replaces the example of the
    same text, unless a gold file already answers it: then it is listed as a dispute.
    """
    if params.kind not in ("classify", "extract", "chat"):
        raise ConfigError(f"task {params.task}: kind {params.kind!r} has no examples; remove data.examples")
    work = _divide(inputs, params, bench)
    outputs = {name: bench.artifacts.put_file(work.path(name)) for name in ("train", "gold", "fresh")}
    return {**outputs, "report": bench.artifacts.put_bytes(_encode(work.report()))}


EXAMPLES = Stage("examples", VERSION, prepare)


def _divide(inputs: Mapping[str, str], params: ExamplesParams, bench: Bench) -> _Work:
    def file(name: str, shown: str) -> ExamplesFile:
        return ExamplesFile(bench.artifacts, inputs[name], shown, params.task, params.kind)

    examples = file("examples", params.examples_name)
    held_out = None if "gold" in inputs else HeldOut(params.held_out, params.seed)
    found = _survey.survey(examples, held_out)
    _require_classes(examples, found)
    work = _Work(params, bench, examples, found, NearIndex(params.near))
    if "corrections" in inputs or "fresh" in inputs:
        learned, fresh = (
            file(name, params.corrections_name) if name in inputs else None for name in ("corrections", "fresh")
        )
        work.corrections = read_corrections(learned, found, fresh)
    if held_out is None:
        gold = file("gold", params.gold_name)
        work.take_gold(gold, _survey.survey(gold))
    else:
        work.hold_out(held_out.units())
    work.take_fresh()
    work.take_train()
    return work


def _require_classes(file: ExamplesFile, found: Survey) -> None:
    usable = found.rows - len(found.skipped)
    if not usable:
        raise DataError(f'{file.where}: holds no example; write lines like {{"text": "...", "label": "..."}}')
    if file.kind == "classify" and len(found.classes) < 2:
        (only,) = found.classes
        raise DataError(
            f"{file.where}: all {usable} examples are of the one class {_survey.quoted(only)}; "
            "a classifier needs at least two: add examples of the others"
        )


@dataclass
class _Work:
    """The state of one division, from the survey to the report."""

    params: ExamplesParams
    bench: Bench
    examples: ExamplesFile
    found: Survey
    unlearnable: NearIndex  # gold and fresh
    corrections: Corrections = field(default_factory=Corrections)
    by_file: bool = False
    gold_keys: set[int] = field(default_factory=set)
    gold_lines: set[int] = field(default_factory=set)  # of the examples, where they are held out by hash
    gold_groups: set[int] = field(default_factory=set)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # train | gold | fresh -> class -> rows
    accounts: dict[str, Account] = field(default_factory=dict)
    contradictions: dict[int, Contradiction] = field(default_factory=dict)
    disputed: list[str] = field(default_factory=list)

    def path(self, name: str) -> Path:
        """Return where the rows of output `name` are gathered."""
        return self.bench.scratch / f"{name}.jsonl"

    def take_gold(self, file: ExamplesFile, found: Survey) -> None:
        """Write the given gold file, without what in it is empty, twice there or contradicting."""
        self.by_file = True
        if self.params.kind == "classify":
            _survey.require_known_labels(file, found, self.found.classes)
        fates: dict[str, int] = {}
        with self.path("gold").open("wb") as out:
            for row in file.good_rows():
                key = key_of(row.text)
                fate = found.skipped.get(row.line) or ("contradicting" if key in found.conflicts else "gold")
                fates[fate] = fates.get(fate, 0) + 1
                if fate == "gold":
                    self._gold(out, row, key)
                    self.gold_groups |= {unit_of(row)} if row.group else set()
                    self._dispute(row, key)
        self._require_gold(file.where)
        self.accounts["gold"] = account_of(found.rows, fates)

    def _dispute(self, row: Row, key: int) -> None:
        correction = self.corrections.latest.get(key)
        if correction is not None and correction.answer != row.answer:
            self.disputed.append(row.text[:80])

    def hold_out(self, units: frozenset[int]) -> None:
        """Write the held-out examples, each with its latest correction."""
        with self.path("gold").open("wb") as out:
            for row in self.examples.good_rows():
                key, line = key_of(row.text), row.line
                if line in self.found.skipped or unit_of(row) not in units:
                    continue
                if key in self.corrections.latest:
                    row = self.corrections.latest[key]
                    if key in self.gold_keys:
                        continue
                elif key in self.found.conflicts:
                    continue
                self.gold_lines.add(line)
                self._gold(out, row, key)
        self._require_gold(self.examples.where)

    def _gold(self, out: BinaryIO, row: Row, key: int) -> None:
        self.gold_keys.add(key)
        self._write(out, "gold", row)
        self.unlearnable.add(row.text, row.answer)

    def _require_gold(self, where: str) -> None:
        if not self.gold_keys:
            raise DataError(f"{where}: nothing is left to measure on; add examples, or a gold file (check.gold)")

    def take_fresh(self) -> None:
        """Write the corrections that are only measured on."""
        self.corrections.divide(self.gold_keys, share=self.params.fresh, seed=self.params.seed)
        with self.path("fresh").open("wb") as out:
            for row in self.corrections.fresh.values():
                self._write(out, "fresh", row)
                self.unlearnable.add(row.text, row.answer)

    def take_train(self) -> None:
        """Write what is trained on: the examples that nothing speaks against, then the corrections."""
        fates: dict[str, int] = {}
        with self.path("train").open("wb") as out:
            for number, row in enumerate(self.examples.good_rows(), 1):
                if not number % 10_000:
                    self.bench.progress(number, self.found.rows, unit="examples")
                fate = self._fate(row)
                fates[fate] = fates.get(fate, 0) + 1
                if fate == "train":
                    self._write(out, "train", row)
            near = [key for key, row in self.corrections.train.items() if self._near(row)]
            for key, row in self.corrections.train.items():
                if key not in near:
                    self._write(out, "train", row)
        self.accounts["examples"] = account_of(self.found.rows, fates)
        if self.corrections.rows:
            self.accounts["corrections"] = account_of(self.corrections.rows, self.corrections.fates(near=len(near)))
        self._require_train(fates)

    def _fate(self, row: Row) -> str:
        """Return "train", "gold", or why `row` is neither."""
        if row.line in self.found.skipped:
            return self.found.skipped[row.line]
        key = key_of(row.text)
        if key in self.found.conflicts:
            self._list(row, key)
        if row.line in self.gold_lines:
            return "gold"
        if key in self.gold_keys:
            return "in gold"
        if key in self.corrections.fresh:
            return "held out as fresh"
        if key in self.corrections.train:
            return "corrected"
        if key in self.found.conflicts:
            return "contradicting"
        if row.group and unit_of(row) in self.gold_groups:
            return "group in gold"
        return "near gold" if self._near(row) else "train"

    def _near(self, row: Row) -> bool:
        return self.unlearnable.holds(row.text, None if self.params.kind == "chat" else row.answer)

    def _list(self, row: Row, key: int) -> None:
        if key in self.contradictions or len(self.contradictions) < _LISTED:
            entry = self.contradictions.setdefault(key, Contradiction(text=row.text[:80], answers={}))
            entry.answers.setdefault(row.answer[:80], []).append(row.line)

    def _write(self, out: BinaryIO, name: str, row: Row) -> None:
        counts, group = self.counts.setdefault(name, {}), row.answer if self.params.kind == "classify" else ""
        counts[group] = counts.get(group, 0) + 1
        # What is measured on keeps the group: items of one user or conversation are no independent witnesses.
        group_of = {"group": row.group} if row.group and name != "train" else {}
        out.write(_encode({**_wire(row, self.params.kind), **group_of}) + b"\n")

    def _require_train(self, fates: dict[str, int]) -> None:
        trained = self.counts.get("train", {})
        for name in self.found.classes if self.params.kind == "classify" else [""]:
            if not trained.get(name):
                what = f"class {_survey.quoted(name)} has" if name else "there is"
                reasons = ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items()) if fate != "train")
                raise DataError(
                    f"{self.examples.where}: {what} no example left to train on ({reasons} in all classes); "
                    "add examples that are not in the gold set"
                )

    def report(self) -> ExamplesReport:
        """Return the report; equal inputs give equal reports."""
        counts = {name: self.counts.get(name, {}) for name in ("train", "gold", "fresh")}
        names = sorted(self.found.classes)
        classes = {n: ClassCount(train=counts["train"].get(n, 0), gold=counts["gold"].get(n, 0)) for n in names}
        return ExamplesReport(
            task=self.params.task,
            kind=self.params.kind,
            label=self.params.label,
            held_out_by="file" if self.by_file else "hash",
            train=sum(counts["train"].values()),
            gold=sum(counts["gold"].values()),
            fresh=sum(counts["fresh"].values()),
            accounts=self.accounts,
            classes=classes,
            few=[name for name in names if classes[name].train < self.params.few],
            unmeasured=[name for name in names if not classes[name].gold],
            contradicting=len(self.found.conflicts),
            contradictions=list(self.contradictions.values()),
            disputed=self.disputed[:_LISTED],
        )


def _wire(row: Row, kind: str) -> dict[str, Any]:
    """Return `row` in the one shape that training and evaluation read."""
    if kind == "classify":
        return {"text": row.text, "label": row.answer}
    messages = row.messages or ({"role": "user", "content": row.text}, {"role": "assistant", "content": row.answer})
    return {"messages": messages, "tools": row.tools} if row.tools else {"messages": messages}
