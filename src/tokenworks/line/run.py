"""Run stages so that nothing is done twice: a result is known by the hash of code version, inputs and parameters.

Why no scheduler: docs/decisions/0080-durable-stages.md.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenworks.core.errors import IntegrityError, TokenworksError
from tokenworks.core.files import locked
from tokenworks.core.ids import content_id
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.ledger.entries import StageEntry
from tokenworks.ledger.writer import Ledger
from tokenworks.line.events import Advanced, Failed, Finished, Listener, Started, unheard
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import StageResult

REPORT_EVERY_S = 0.1


def stage_key(stage: Stage, inputs: Mapping[str, str], params: Any) -> str:
    """Return the identity of a piece of work: 64 hexadecimal characters."""
    return content_id(
        {"stage": stage.name, "version": stage.version, "inputs": dict(sorted(inputs.items())), "params": params}
    )


@dataclass(frozen=True)
class Runner:
    """Where stages work, and what remembers their results."""

    catalog: Catalog
    artifacts: ArtifactStore
    ledger: Ledger
    home: Path
    threads: int = 2
    processes: int = 0  # ingest workers; 0: as many as threads
    memory_mb: int = 1024  # of one ingest worker
    listen: Listener = unheard

    def run(self, stage: Stage, inputs: Mapping[str, str], params: Any, *, task: str) -> Outputs:
        """Return the outputs of `stage`: from the catalog when known, else by working.

        Killed at any point, the same call goes on from the stage's last checkpoint. Two processes that want the
        same result wait for each other and work once.
        """
        key = stage_key(stage, inputs, params)
        work = self.home / "work" / stage.name / key[:24]
        started = time.monotonic()
        with locked(work.with_suffix(".lock")):
            known = self._known(key)
            if known is None:
                outputs = self._work(stage, inputs, params, work, task)
                self._remember(stage, key, inputs, params, outputs, time.monotonic() - started, task)
                shutil.rmtree(work, ignore_errors=True)
            else:
                outputs = known
        seconds = time.monotonic() - started
        self.ledger.append(
            StageEntry(
                at=time.time(),
                task=task,
                stage=stage.name,
                key=key,
                outputs=dict(outputs),
                seconds=seconds,
                hit=known is not None,
            )
        )
        self.listen(Finished(task=task, stage=stage.name, seconds=seconds, hit=known is not None))
        return outputs

    def _known(self, key: str) -> Outputs | None:
        """Return recorded outputs if their bytes are still there; a result whose artifacts were lost is worked anew."""
        result = self.catalog.stages.get(key)
        if result is None or not all(self.artifacts.has(digest) for digest in result.outputs.values()):
            return None
        return result.outputs

    def _work(self, stage: Stage, inputs: Mapping[str, str], params: Any, work: Path, task: str) -> Outputs:
        self.listen(Started(task=task, stage=stage.name))
        work.mkdir(parents=True, exist_ok=True)
        cache = self.home / "cache" / stage.name
        cache.mkdir(parents=True, exist_ok=True)
        bench = Bench(self.artifacts, work, cache, _Throttled(self.listen, task, stage.name), self.threads)
        try:
            outputs = stage.run(inputs, params, bench)
        except TokenworksError as error:
            self.listen(Failed(task=task, stage=stage.name, message=str(error)))
            raise
        for name, digest in outputs.items():
            if not self.artifacts.has(digest):
                raise IntegrityError(f"stage {stage.name}: its output {name!r} ({digest[:12]}) is not in the store")
        return outputs

    def _remember(
        self,
        stage: Stage,
        key: str,
        inputs: Mapping[str, str],
        params: Any,
        outputs: Outputs,
        seconds: float,
        task: str,
    ) -> None:
        self.catalog.stages.put(
            StageResult(
                key=key,
                stage=stage.name,
                task=task,
                inputs=dict(inputs),
                params=params,
                outputs=dict(outputs),
                seconds=seconds,
                finished_at=time.time(),
            )
        )


class _Throttled:
    """Progress that may be reported for every document and is passed on ten times a second."""

    def __init__(self, listen: Listener, task: str, stage: str) -> None:
        self._listen, self._task, self._stage = listen, task, stage
        self._next = 0.0

    def __call__(self, done: float, total: float | None = None, *, unit: str = "", note: str = "") -> None:
        now = time.monotonic()
        if now < self._next and done != total:
            return
        self._next = now + REPORT_EVERY_S
        self._listen(Advanced(task=self._task, stage=self._stage, done=done, total=total, unit=unit, note=note))
