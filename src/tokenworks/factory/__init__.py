"""The composition root: settings to parts to line, gateway and flywheel. The only room that knows everybody."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tokenworks.core.task import Task, TaskData, TaskHead
from tokenworks.factory.erasing import Erased, erase, look, unlearned
from tokenworks.factory.granting import Granting
from tokenworks.factory.limiting import Standing, standings
from tokenworks.factory.making import user
from tokenworks.factory.reach import Target
from tokenworks.factory.releasing import Releasing
from tokenworks.factory.report import Report, report
from tokenworks.factory.turning import Turning
from tokenworks.line.curate.report import CurateReport
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.verdict import Verdict
from tokenworks.line.forecast import Forecast, forecast
from tokenworks.line.ingest.report import IngestReport
from tokenworks.line.produce import Outcome
from tokenworks.line.recipes import documents
from tokenworks.line.release.lineage import Node, lineage, render


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What reading some documents came to."""

    corpus: str
    ingest: IngestReport
    curate: CurateReport


class Factory(Turning, Releasing, Granting):
    """Everything the factory can do, over one home. Use as a context manager.

    >>> with Factory(home="~/.tokenworks") as factory:
    ...     outcome = factory.make("route.toml")
    """

    # -- verbs

    def make(self, task: Task | str | Path) -> Outcome:
        """Run the line for `task` (or its file): data, model, evaluation, gate, and the release if it won."""
        return self.producer.produce(self.remember(task), by="line")

    def read_documents(self, task: Task) -> None:
        """Read and curate the documents of `task`, where it has any: search has them before training begins."""
        if task.data.sources:
            documents(task, self.runner)

    def ingest(self, paths: list[Path], *, label: str = "internal") -> Ingested:
        """Read documents into a corpus, without training anything."""
        sources = tuple(str(path.expanduser().resolve()) for path in paths)
        task = Task(task=TaskHead(name="documents", kind="embed", label=label), data=TaskData(sources=sources))
        made = documents(task, self.runner)
        return Ingested(
            corpus=made["corpus"],
            ingest=msgspec.json.decode(self.artifacts.get_bytes(made["ingest_report"]), type=IngestReport),
            curate=msgspec.json.decode(self.artifacts.get_bytes(made["report"]), type=CurateReport),
        )

    def evaluate(self, name: str) -> Evaluation:
        """Return the evaluation of what is released for task `name`, on today's gold set."""
        return self.producer.evaluate_released(self.task(name))

    def forecast(self, task: Task) -> Forecast:
        """Say what `task` would read, train, measure and spend."""
        return forecast(task, self.catalog)

    def report(self) -> Report:
        """Return the state of this factory on one screen."""
        return report(self.home, self.catalog, self.artifacts, unlearned=unlearned(self))

    def erase(self, target: Target, *, dry_run: bool = False) -> Erased:
        """Erase what `target` names and mark the tasks whose models learned it; with `dry_run` only say what it is."""
        return look(self, target) if dry_run else erase(self, target, by=user())

    def lineage(self, ref: str) -> tuple[Node, str]:
        """Return the tree from version `ref` back to its documents, and the same as text."""
        node = lineage(self.version(ref), catalog=self.catalog, artifacts=self.artifacts)
        return node, render(node)

    def verdict(self, digest: str) -> Verdict:
        """Return a verdict of the gate by its digest."""
        return Verdict.from_json(self.artifacts.get_bytes(digest))

    def limit_standings(self) -> list[Standing]:
        """Return every limit with what the ledger says was spent of it."""
        return standings(self.limits.all(), self.spending(), now=self.clock.now())
