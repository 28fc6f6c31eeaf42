"""What people said the answer should have been: the latest word on each text, and the part kept for measuring."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokenworks.line.curate._formats import Malformed, Row
from tokenworks.line.curate._survey import ExamplesFile, Survey
from tokenworks.line.curate._texts import key_of, share_of


@dataclass
class Corrections:
    """The latest correction of each text, then divided into what is trained on and what is only measured on."""

    rows: int = 0
    latest: dict[int, Row] = field(default_factory=dict)  # by time
    set_aside: dict[str, int] = field(default_factory=dict)
    train: dict[int, Row] = field(default_factory=dict)
    fresh: dict[int, Row] = field(default_factory=dict)
    in_gold: int = 0
    given_fresh: set[int] | None = None  # texts that whoever selected the corrections keeps for measuring

    def divide(self, gold_keys: set[int], *, share: float, seed: int) -> None:
        """Keep what was chosen for measuring, else a share by hash; a text of gold is neither trained on nor fresh."""
        for key, row in self.latest.items():
            by_hash = self.given_fresh is None and share_of(key, seed=seed, purpose="fresh") < share
            if key in gold_keys:
                self.in_gold += 1
            elif by_hash or key in (self.given_fresh or ()):
                self.fresh[key] = row
            else:
                self.train[key] = row

    def fates(self, *, near: int) -> dict[str, int]:
        """Return how many rows went where; `near` of those for training were too near to gold or fresh."""
        kept = {"train": len(self.train) - near, "fresh": len(self.fresh), "near gold": near, "in gold": self.in_gold}
        return {fate: count for fate, count in {**kept, **self.set_aside}.items() if count}


def read_corrections(file: ExamplesFile | None, examples: Survey, fresh: ExamplesFile | None = None) -> Corrections:
    """Return the latest correction of each text. What cannot be used is counted: callers wrote it, not the owner.

    With `fresh`, its texts are those that are only measured on, whatever their hash says.
    """
    found = Corrections(given_fresh=None if fresh is None else set())
    for part in (file, fresh):
        if part is not None:
            _read(part, examples, found, found.given_fresh if part is fresh else None)
    ordered = sorted(found.latest.items(), key=lambda item: (item[1].at, item[1].request_id, item[1].line))
    found.latest = dict(ordered)
    return found


def _read(file: ExamplesFile, examples: Survey, found: Corrections, keys: set[int] | None) -> None:
    """Take the rows of one file; with `keys`, note which texts it has."""
    for row in file.rows():
        found.rows += 1
        reason = _unusable(row, file, examples)
        if reason or isinstance(row, Malformed):
            found.set_aside[reason] = found.set_aside.get(reason, 0) + 1
            continue
        key = key_of(row.text)
        if keys is not None:
            keys.add(key)
        before = found.latest.get(key)
        if before is not None:
            found.set_aside["superseded"] = found.set_aside.get("superseded", 0) + 1
        if before is None or (row.at, row.request_id, row.line) >= (before.at, before.request_id, before.line):
            found.latest[key] = row


def _unusable(row: Row | Malformed, file: ExamplesFile, examples: Survey) -> str:
    if isinstance(row, Malformed):
        return "malformed"
    if not row.text.strip():
        return "empty"
    return "unknown label" if file.kind == "classify" and row.answer not in examples.classes else ""
