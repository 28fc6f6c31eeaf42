"""The line over one home: what runs stages, how models are asked while they are judged, and the tasks there are."""

from __future__ import annotations

import getpass
from functools import cached_property
from pathlib import Path

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.core.ids import content_id
from tokenworks.core.task import Task, read_task
from tokenworks.factory.answering import Answering
from tokenworks.factory.house import House
from tokenworks.line.comparing import Judge
from tokenworks.line.produce import Producer
from tokenworks.line.run import Runner
from tokenworks.store.nouns import CatalogTask


class Making(House):
    """A home in which models can be made."""

    @cached_property
    def answering(self) -> Answering:
        """The request path in this process, for evaluation and the flywheel."""
        answering = Answering(self)
        self._close.append(answering.close)
        return answering

    @property
    def runner(self) -> Runner:
        """What runs stages."""
        return Runner(
            self.catalog,
            self.artifacts,
            self.ledger,
            self.home,
            threads=self.settings.threads,
            processes=self.settings.line.processes,
            memory_mb=self.settings.line.memory_mb,
            listen=self.listen,
        )

    @property
    def producer(self) -> Producer:
        """The line for any task."""
        judge = Judge(
            lambda request: self.answering.answer(request), lambda ref, folder: self.answering.offer(ref, folder)
        )
        return Producer(self.runner, judge, self.key, self.clock)

    def remember(self, task: Task | str | Path) -> Task:
        """Enter `task` into the catalog and return it; owner and label as they stand now."""
        task = task if isinstance(task, Task) else read_task(Path(task))
        self.catalog.tasks.put(
            CatalogTask(
                name=task.name,
                kind=task.kind,
                owner=task.task.owner,
                deputy=task.task.deputy,
                label=str(task.label),
                spec=msgspec.to_builtins(task),
                digest=content_id(task),
                updated_at=self.clock.now(),
            )
        )
        return task

    def task(self, name: str) -> Task:
        """Return the task called `name`; raise `NotFoundError` listing those that are known."""
        known = self.catalog.tasks.get(name)
        if known is None:
            names = ", ".join(task.name for task in self.catalog.tasks.all()) or "none yet"
            raise NotFoundError(f"task {name!r} is not known here; known: {names}")
        return msgspec.convert(known.spec, Task)


def user() -> str:
    """Return who runs this process, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"
