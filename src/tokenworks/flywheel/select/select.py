"""Selection as a turn calls it: collect the signals up to a point in time, then run the stage over them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tokenworks.core.errors import MissingExtraError
from tokenworks.core.files import locked
from tokenworks.core.task import Task
from tokenworks.flywheel.select.collect import collect
from tokenworks.flywheel.select.quarantine import pardons
from tokenworks.flywheel.select.report import SelectionReport, story
from tokenworks.flywheel.select.stage import EVAL, SELECT, SelectParams
from tokenworks.ledger.bodies import Bodies
from tokenworks.line.run import Runner
from tokenworks.line.train.bases import packaged_minilm

HASHED = "hashed"  # in place of an encoder: words alone
WITH_GOLD, WITHOUT_GOLD = 0.2, 0.4  # share of new groups that is measured on; without a gold file it decides alone
PARTS = ("train", "fresh", "pairs", "clicks", "unlabelled", "members", "quarantine")


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A version of what a task learns from its traffic: blobs of JSON lines by part, and the report."""

    train: str
    fresh: str
    pairs: str
    clicks: str
    unlabelled: str
    members: str
    quarantine: str
    report_digest: str
    signals: str
    report: SelectionReport

    @property
    def label(self) -> str:
        """The highest label of the requests that it was made of."""
        return self.report.label

    @property
    def counts(self) -> dict[str, int]:
        """Rows by part."""
        return self.report.counts

    @property
    def new(self) -> int:
        """Rows to learn from or to measure on whose feedback came after the turn before."""
        return self.report.new

    def parts(self) -> dict[str, str]:
        """Return the digests by name."""
        return {name: getattr(self, name) for name in PARTS}

    def story(self) -> list[str]:
        """Return what was selected and what was not, in lines."""
        return story(self.report)


def select(
    task: Task,
    runner: Runner,
    ledger_root: Path,
    bodies: Bodies,
    *,
    until: float,
    evals: Mapping[str, str],
    earlier: str = "",
    encoder: str = "",
    since: float = 0.0,
    learned_until: float = 0.0,
) -> Selection:
    """Return what `task` may learn from all traffic and feedback up to `until`, guarded against poisoning.

    `evals` are the blobs that nothing may be learned from, by name. `earlier` is the blob of the owner's examples
    (default: `data.examples` of the task file), `encoder` the folder of a base encoder (default: the built-in one where
    it is installed; `HASHED`: none). The model in production learned from feedback until `learned_until`: what is
    measured on comes after it. The same call gives the same artifacts, unless texts were erased or something was
    released from quarantine since.
    """
    signals = _collected(task, runner, ledger_root, bodies, until)
    inputs = {"signals": signals, **{f"{EVAL}{name}": digest for name, digest in evals.items() if digest}}
    if examples := earlier or _examples(task, runner):
        inputs["earlier"] = examples
    base = encoder or (_encoder(runner) if task.kind == "classify" else HASHED)
    if base != HASHED:
        inputs["encoder"] = base
    outputs = runner.run(SELECT, inputs, _params(task, runner, since, learned_until), task=task.name)
    report = msgspec.json.decode(runner.artifacts.get_bytes(outputs["report"]), type=SelectionReport)
    parts = {name: outputs[name] for name in PARTS}
    return Selection(**parts, report_digest=outputs["report"], signals=signals, report=report)


def _collected(task: Task, runner: Runner, ledger_root: Path, bodies: Bodies, until: float) -> str:
    """Return the digest of the signals. What a killed run left of the file is written anew."""
    path = runner.home / "work" / "collect" / f"{task.name}.jsonl"
    with locked(path.with_suffix(".lock")):
        with path.open("w+b") as file:
            collect(task, ledger_root, bodies, until=until, file=file)
        digest = runner.artifacts.put_file(path)
        path.unlink()
    return digest


def _params(task: Task, runner: Runner, since: float, learned_until: float) -> SelectParams:
    lifted = pardons(runner.catalog, task.name)
    return SelectParams(
        task=task.name,
        kind=task.kind,
        label=task.task.label,
        since=since,
        learned_until=learned_until,
        fresh=WITH_GOLD if task.check.gold else WITHOUT_GOLD,
        seed=task.model.seed,
        per_principal=task.turn.per_principal,
        pardoned=tuple(sorted(lifted.feedback)),
        pardoned_principals=tuple(sorted(lifted.principals)),
    )


def _examples(task: Task, runner: Runner) -> str:
    path = task.path(task.data.examples) if task.data.examples else None
    return runner.artifacts.put_file(path) if path is not None and path.is_file() else ""


def _encoder(runner: Runner) -> str:
    """Return the digest of the built-in encoder, or `HASHED` where it cannot be used here."""
    if importlib.util.find_spec("torch") is None:
        return HASHED
    try:
        return runner.artifacts.put_folder(packaged_minilm())
    except MissingExtraError:
        return HASHED
