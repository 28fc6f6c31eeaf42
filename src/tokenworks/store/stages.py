"""What the line did: stage results, which are its cache and its lineage, and runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, update

from tokenworks.core.errors import NotFoundError
from tokenworks.store import schema
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.nouns import Run, StageResult

_JSON = ("inputs", "outputs", "params")


class Stages:
    """Finished stages by key. A key found here is a cache hit; outputs lead back to inputs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, result: StageResult) -> None:
        """Record `result`, or replace the one with that key."""
        outputs = sorted(set(result.outputs.values()))
        with self._database.write() as connection:
            self._database.upsert(connection, schema.stage_results, to_row(result, as_json=_JSON))
            connection.execute(delete(schema.stage_outputs).where(schema.stage_outputs.c.key == result.key))
            if outputs:
                rows = [{"digest": digest, "key": result.key} for digest in outputs]
                connection.execute(insert(schema.stage_outputs), rows)

    def get(self, key: str) -> StageResult | None:
        """Return the result, or None where the stage has yet to run."""
        found = self._all(select(schema.stage_results).where(schema.stage_results.c.key == key))
        return found[0] if found else None

    def of(self, task: str) -> list[StageResult]:
        """Return the results first made for `task`, oldest first."""
        columns = schema.stage_results.c
        query = select(schema.stage_results).where(columns.task == task)
        return self._all(query.order_by(columns.finished_at, columns.key))

    def all(self) -> list[StageResult]:
        """Return every result, oldest first."""
        columns = schema.stage_results.c
        return self._all(select(schema.stage_results).order_by(columns.finished_at, columns.key))

    def producers(self, digest: str) -> list[StageResult]:
        """Return the results that have the artifact `digest` among their outputs, oldest first."""
        columns = schema.stage_results.c
        query = select(schema.stage_results).join(schema.stage_outputs, schema.stage_outputs.c.key == columns.key)
        query = query.where(schema.stage_outputs.c.digest == digest)
        return self._all(query.order_by(columns.finished_at, columns.key))

    def _all(self, query: Any) -> list[StageResult]:
        with self._database.read() as connection:
            return [from_row(row, StageResult, as_json=_JSON) for row in connection.execute(query).all()]


class Runs:
    """Passes through the line."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, run: Run) -> None:
        """Record that `run` began; one that is taken up again after a kill keeps its id."""
        with self._database.write() as connection:
            self._database.upsert(connection, schema.runs, to_row(run))

    def enter(self, id: str, stage: str) -> None:
        """Record the stage that the run is in now."""
        self._change(id, stage=stage)

    def finish(self, id: str, *, at: float, error: str = "") -> None:
        """Record that the run ended: well, or with `error`."""
        self._change(id, status="failed" if error else "done", finished_at=at, error=error)

    def get(self, id: str) -> Run:
        """Return the run; raise `NotFoundError`."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.runs).where(schema.runs.c.id == id)).first()
        if not row:
            raise _unknown(id)
        return from_row(row, Run)

    def of(self, task: str) -> list[Run]:
        """Return the task's runs, oldest first."""
        columns = schema.runs.c
        query = select(schema.runs).where(columns.task == task).order_by(columns.started_at, columns.id)
        with self._database.read() as connection:
            return [from_row(row, Run) for row in connection.execute(query).all()]

    def latest(self, task: str) -> Run | None:
        """Return the run that began last, or None."""
        runs = self.of(task)
        return runs[-1] if runs else None

    def _change(self, id: str, **values: str | float) -> None:
        with self._database.write() as connection:
            changed = connection.execute(update(schema.runs).where(schema.runs.c.id == id).values(values))
            if not changed.rowcount:
                raise _unknown(id)


def _unknown(id: str) -> NotFoundError:
    return NotFoundError(f"there is no run {id}; list the task's runs to see those that exist")
