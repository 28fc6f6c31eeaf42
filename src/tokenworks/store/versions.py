"""Things that come in numbered versions: corpora, datasets, model versions. A number is given out once."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Connection, Table, insert, select

from tokenworks.core.errors import NotFoundError
from tokenworks.core.model import ModelVersion
from tokenworks.store import schema
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.nouns import Corpus, Dataset

T = TypeVar("T", bound=msgspec.Struct)
DIGITS = 9  # of a version: what is longer is none, and no database has an integer for it


def next_number(database: Database, connection: Connection, name: str) -> int:
    """Return 1, 2, ... for `name`; whoever else asks waits until this transaction has ended."""
    counters = schema.counters
    row = database.insert(counters).values(name=name, value=1)
    counted = row.on_conflict_do_update(index_elements=["name"], set_={"value": counters.c.value + 1})
    return int(connection.execute(counted.returning(counters.c.value)).scalar_one())


class _Versions(Generic[T]):
    """The versions of something that each task has one row of."""

    def __init__(self, database: Database, table: Table, into: type[T]) -> None:
        self._database, self._table, self._into = database, table, into

    def latest(self, task: str) -> T | None:
        """Return the newest version of `task`, or None."""
        with self._database.read() as connection:
            return self._latest(connection, task)

    def of(self, task: str) -> list[T]:
        """Return every version of `task`, oldest first."""
        columns = self._table.c
        query = select(self._table).where(columns.task == task).order_by(columns.version)
        with self._database.read() as connection:
            return [from_row(row, self._into) for row in connection.execute(query).all()]

    def _latest(self, connection: Connection, task: str) -> T | None:
        columns = self._table.c
        query = select(self._table).where(columns.task == task).order_by(columns.version.desc()).limit(1)
        row = connection.execute(query).first()
        return from_row(row, self._into) if row else None

    def _add(self, version: T, same: tuple[str, ...]) -> T:
        """Give `version` its number, unless the newest one equals it in the fields `same`: then that one stands."""
        task = str(getattr(version, "task", ""))
        with self._database.write() as connection:
            number = next_number(self._database, connection, f"{self._table.name}:{task}")
            latest = self._latest(connection, task)
            if latest is not None and all(getattr(latest, name) == getattr(version, name) for name in same):
                connection.rollback()  # the number was not used
                return latest
            numbered: T = msgspec.structs.replace(version, version=number)
            connection.execute(insert(self._table), to_row(numbered))
            return numbered


class Corpora(_Versions[Corpus]):
    """The documents of a task, version by version."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, schema.corpora, Corpus)

    def add(self, task: str, *, digest: str, label: str, documents: int, bytes: int, at: float) -> Corpus:
        """Add the next version; one with the newest version's digest is no new version."""
        corpus = Corpus(
            task=task, version=0, digest=digest, label=label, documents=documents, bytes=bytes, created_at=at
        )
        return self._add(corpus, ("digest", "label"))


class Datasets(_Versions[Dataset]):
    """The examples of a task, version by version."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, schema.datasets, Dataset)

    def add(self, task: str, *, train: str, gold: str, rows: int, label: str, at: float) -> Dataset:
        """Add the next version; one with the newest version's digests is no new version."""
        dataset = Dataset(task=task, version=0, train=train, gold=gold, rows=rows, label=label, created_at=at)
        return self._add(dataset, ("train", "gold", "label"))


class Models:
    """Registered model versions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, version: ModelVersion) -> ModelVersion:
        """Register `version` under the next number of its model; the folder of an older version gives that one."""
        columns = schema.model_versions.c
        with self._database.write() as connection:
            number = next_number(self._database, connection, f"models:{version.model}")
            query = self._query(version.model).where(columns.folder == version.folder)
            if row := connection.execute(query).first():
                connection.rollback()  # the number was not used
                return from_row(row, ModelVersion)
            numbered = msgspec.structs.replace(version, version=number)
            connection.execute(insert(schema.model_versions), to_row(numbered))
            return numbered

    def get(self, model: str, version: int) -> ModelVersion:
        """Return the version; raise `NotFoundError` naming those that exist."""
        query = self._query(model).where(schema.model_versions.c.version == version)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row:
            return from_row(row, ModelVersion)
        raise unknown_version(model, version, [found.version for found in self.of(model)])

    def find(self, ref: str) -> ModelVersion:
        """Return the version that `name@number` names; raise `NotFoundError`."""
        model, _, number = ref.rpartition("@")
        if not model or "\0" in model or not number.isdecimal() or len(number) > DIGITS:
            raise NotFoundError(f"{ref!r} names no model version; write it as name@number, such as route@1")
        return self.get(model, int(number))

    def latest(self, model: str) -> ModelVersion | None:
        """Return the newest version, or None."""
        query = self._query(model).order_by(schema.model_versions.c.version.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return from_row(row, ModelVersion) if row else None

    def of(self, model: str) -> list[ModelVersion]:
        """Return every version of `model`, oldest first."""
        query = self._query(model).order_by(schema.model_versions.c.version)
        with self._database.read() as connection:
            return [from_row(row, ModelVersion) for row in connection.execute(query).all()]

    def names(self) -> list[str]:
        """Return the names of all models."""
        column = schema.model_versions.c.model
        with self._database.read() as connection:
            return list(connection.execute(select(column).distinct().order_by(column)).scalars())

    def _query(self, model: str) -> Any:
        return select(schema.model_versions).where(schema.model_versions.c.model == model)


def unknown_version(model: str, version: int, known: list[int]) -> NotFoundError:
    """Return the error for a version that was never registered, naming those that were."""
    hint = f"there are: {', '.join(f'{model}@{number}' for number in known)}" if known else "train it first"
    return NotFoundError(f"model version {model}@{version} does not exist; {hint}")
