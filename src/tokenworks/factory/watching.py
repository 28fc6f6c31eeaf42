"""Documents that change: what was read is compared with what lies there, and the difference goes to index and turns."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec
import structlog

from tokenworks.core.errors import TokenworksError
from tokenworks.core.task import Task
from tokenworks.factory.corpora import show
from tokenworks.factory.due import mark
from tokenworks.factory.making import Making
from tokenworks.line.descent import learned_from
from tokenworks.line.ingest.stage import fingerprint
from tokenworks.line.recipes import documents, ingest_params
from tokenworks.retrieval.index import Index
from tokenworks.store.nouns import Object, StageResult

KIND = "watched"  # objects: the listing that the index shows, by task
LEARN_FROM_DOCUMENTS = frozenset({"complete", "embed"})
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
        tasks = [msgspec.convert(one.spec, Task) for one in self.house.catalog.tasks.all() if one.spec]
        results = self.house.catalog.stages.all()
        seen = {task.name: self._seen(task, results) for task in tasks if task.data.sources}  # before anything is read
        for task in tasks:
            before = seen.get(task.name)
            if before is None:
                continue
            try:
                changed = self._look(task, before)
            except TokenworksError as error:  # one task's trouble is not another's
                log.warning("documents could not be looked at", task=task.name, error=str(error))
                continue
            if changed is not None:
                yield changed

    def _look(self, task: Task, before: _Seen) -> Changed | None:
        started = time.monotonic()
        listing = fingerprint(ingest_params(task, self.house.runner))
        if before.listing == listing:
            return None
        corpus = documents(task, self.house.runner)["corpus"]
        index = Index.open(self.house.home / "index")
        try:
            update = show(self.house, index)
        finally:
            index.close()
        due = corpus != before.corpus and self._has_yet_to_learn(task, corpus)
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

    def _has_yet_to_learn(self, task: Task, corpus: str) -> bool:
        """Return whether what answers for the task should have learned from `corpus`, and has not."""
        current = self.house.catalog.releases.current(task.name)
        if task.kind not in LEARN_FROM_DOCUMENTS or current is None or not current.version:
            return False
        version = self.house.catalog.models.get(current.model, current.version)
        return version.stage_key not in learned_from(self.house.catalog.stages.all(), {corpus})

    def _seen(self, task: Task, results: list[StageResult]) -> _Seen | None:
        """Return what the index shows of the task: as remembered, or as the line read it; None: never read."""
        known = self.house.catalog.objects.get(KIND, task.name)
        if known is not None:
            return msgspec.convert(known.body, _Seen)
        try:
            sources = msgspec.json.decode(msgspec.json.encode(ingest_params(task, self.house.runner).sources))
        except TokenworksError:
            return None  # a source that is not there was told by the line, which is to read it first
        read = _newest(one for one in results if one.stage == "ingest" and one.params["sources"] == sources)
        if read is None:
            return None
        texts = read.outputs["documents"]
        kept = _newest(one for one in results if one.stage == "curate" and one.inputs["documents"] == texts)
        if kept is None:
            return None
        seen = _Seen(listing=read.inputs["listing"], corpus=kept.outputs["corpus"])
        self._remember(task.name, seen)
        return seen

    def _remember(self, task: str, seen: _Seen) -> None:
        objects, now = self.house.catalog.objects, self.house.clock.now()
        known, body = objects.get(KIND, task), msgspec.to_builtins(seen)
        if known is None:
            objects.add(Object(kind=KIND, id=task, scope=task, body=body, created_at=now))
        else:
            objects.update(msgspec.structs.replace(known, body=body))


def _newest(results: Iterable[StageResult]) -> StageResult | None:
    return max(results, key=lambda one: one.finished_at, default=None)


async def watch_in_child(house: Making, changed: Callable[[Changed], None]) -> None:
    """Watch in a process that gives way to whoever answers, until cancelled; tell `changed` what came."""
    every = house.settings.line.watch_s
    if every <= 0:
        return
    words = ["--home", str(house.home), "--json", "watch", "--every", str(every), "--events-for", str(os.getpid())]
    while True:
        await asyncio.sleep(every)
        if not await asyncio.to_thread(_has_documents, house):
            continue
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
            await child.communicate()  # reads to the end, so that the pipe is closed with the loop still there
        log.warning("watch of documents ended; begun again soon", status=await child.wait())


def _has_documents(house: Making) -> bool:
    return any(one.spec.get("data", {}).get("sources") for one in house.catalog.tasks.all())
