"""What is wanted, by whom, from which places: tasks, owners, sources."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from tokenworks.core.errors import ConflictError
from tokenworks.store import schema
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.nouns import CatalogTask, Owner, Source


class Owners:
    """People and groups that answer for tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, owner: Owner) -> None:
        """Add `owner`, or replace the one with that address."""
        with self._database.write() as connection:
            self._database.upsert(connection, schema.owners, to_row(owner))

    def get(self, address: str) -> Owner | None:
        """Return the owner, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.owners).where(schema.owners.c.address == address)).first()
        return from_row(row, Owner) if row else None

    def all(self) -> list[Owner]:
        """Return every owner by address."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.owners).order_by(schema.owners.c.address)).all()
        return [from_row(row, Owner) for row in rows]


class Tasks:
    """Tasks as they were last read from their files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, task: CatalogTask) -> None:
        """Add `task`, or replace the one of that name; its owner and deputy become known with it."""
        with self._database.write() as connection:
            self._database.upsert(connection, schema.tasks, to_row(task, as_json=["spec"]))
            for address in {task.owner, task.deputy} - {""}:
                self._meet(connection, Owner(address=address, since=task.updated_at))

    def _meet(self, connection: Connection, owner: Owner) -> None:
        connection.execute(self._database.insert(schema.owners).values(to_row(owner)).on_conflict_do_nothing())

    def get(self, name: str) -> CatalogTask | None:
        """Return the task, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.tasks).where(schema.tasks.c.name == name)).first()
        return from_row(row, CatalogTask, as_json=["spec"]) if row else None

    def all(self) -> list[CatalogTask]:
        """Return every task by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.tasks).order_by(schema.tasks.c.name)).all()
        return [from_row(row, CatalogTask, as_json=["spec"]) for row in rows]


class Sources:
    """Where the documents of a task come from."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, task: str, sources: Sequence[Source]) -> None:
        """Let `sources` be all that the task has, in one step."""
        for source in sources:
            if source.task != task:
                raise ConflictError(f"source {source.name!r} belongs to task {source.task!r}, not to {task!r}")
        with self._database.write() as connection:
            connection.execute(delete(schema.sources).where(schema.sources.c.task == task))
            if sources:
                connection.execute(insert(schema.sources), [to_row(source) for source in sources])

    def of(self, task: str) -> list[Source]:
        """Return the task's sources by name."""
        query = select(schema.sources).where(schema.sources.c.task == task).order_by(schema.sources.c.name)
        with self._database.read() as connection:
            return [from_row(row, Source) for row in connection.execute(query).all()]
