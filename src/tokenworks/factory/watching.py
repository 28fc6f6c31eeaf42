"""Documents that change: what was read is compared with what lies there, and the difference goes to index and turns."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import structlog

from tokenworks.core.errors import TokenworksError
from tokenworks.core.task import Task
from tokenworks.factory.documents import show
from tokenworks.factory.due import mark
from tokenworks.factory.making import Making
from tokenworks.line.ingest.stage import fingerprint
from tokenworks.line.recipes import documents, ingest_params
from tokenworks.retrieval.index import Index
from tokenworks.store.nouns import Object, StageResult

KIND = "watched"  # objects: the listing that the index shows, by task
LEARN_FROM_DOCUMENTS = frozenset({"complete", "embed"})
AGAIN_S = 30.0  # before a watch that ended is begun again
log = structlog.get_logger()


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a task's documents since the last look."""

    task: str
    added: int
    changed: int
    removed: int
    unchanged: int
    seconds: float
    due: bool  # the next model of the task will learn from them


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    listing: str
    corpus: str


@dataclass(frozen=True)
class Watcher:
    """Looks at the sources of every task that was read before."""

    house: Making

    def look(self) -> Iterator[Changed]:
        """Take in what changed, task by task; a source that cannot be read is logged, and its documents stay."""
        for known in self.house.catalog.tasks.all():
            task = msgspec.convert(known.spec, Task) if known.spec else None
            if task is None or not task.data.sources:
                continue
            try:
                changed = self._look(task)
            except TokenworksError as error:  # one task's trouble is not another's
                log.warning("documents could not be looked at", task=task.name, error=str(error))
                continue
            if changed is not None:
                yield changed

    def _look(self, task: Task) -> Changed | None:
        started = time.monotonic()
        before = self._seen(task.name)
        listing = fingerprint(ingest_params(task, self.house.runner))
        if before is None or before.listing == listing:
            return None
        corpus = documents(task, self.house.runner)["corpus"]
        index = Index.open(self.house.home / "index")
        try:
            update = show(self.house, index)
        finally:
            index.close()
        due = corpus != before.corpus and self._learns(task)
        if due:
            mark(self.house.catalog, task.name, now=self.house.clock.now(), documents=True)
        self._remember(task.name, _Seen(listing=listing, corpus=corpus))
        return Changed(
            task=task.name,
            added=update.added,
            changed=update.changed,
            removed=update.removed,
            unchanged=update.unchanged,
            seconds=time.monotonic() - started,
            due=due,
        )

    def _learns(self, task: Task) -> bool:
        current = self.house.catalog.releases.current(task.name)
        return task.kind in LEARN_FROM_DOCUMENTS and current is not None and current.version > 0

    def _seen(self, task: str) -> _Seen | None:
        """Return what the index shows of the task: as remembered, or as the line read it; None: never read."""
        results = self.house.catalog.stages.of(task)
        read, kept = _newest(results, "ingest"), _newest(results, "curate")
        if read is None or kept is None:
            return None
        known = self.house.catalog.objects.get(KIND, task)
        if known is not None and known.created_at >= read.finished_at:
            return msgspec.convert(known.body, _Seen)
        return _Seen(listing=read.inputs["listing"], corpus=kept.outputs["corpus"])

    def _remember(self, task: str, seen: _Seen) -> None:
        """Not updated but made anew: its time says whether the line has read the documents since."""
        objects = self.house.catalog.objects
        objects.delete(KIND, task)
        now = self.house.clock.now()
        objects.add(Object(kind=KIND, id=task, scope=task, body=msgspec.to_builtins(seen), created_at=now))


def _newest(results: list[StageResult], stage: str) -> StageResult | None:
    return max((one for one in results if one.stage == stage), key=lambda one: one.finished_at, default=None)


async def watch_in_child(house: Making, changed: Callable[[Changed], None]) -> None:
    """Watch in a process that gives way to whoever answers, until cancelled; tell `changed` what came."""
    every = house.settings.line.watch_s
    if every <= 0:
        return
    words = ["--home", str(house.home), "--json", "watch", "--every", str(every), "--events-for", str(os.getpid())]
    while True:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tokenworks.cli.main", *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert child.stdout is not None
            async for line in child.stdout:
                changed(msgspec.json.decode(line, type=Changed))
        finally:
            if child.returncode is None:
                child.kill()
        log.warning("watch of documents ended; begun again soon", status=await child.wait())
        await asyncio.sleep(AGAIN_S)
