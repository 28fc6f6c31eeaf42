"""The catalog: everything that exists, by noun. Opened once per process; typed structs in and out, never raw rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, inspect, text

from tokenworks.core.errors import StoreError
from tokenworks.core.files import locked
from tokenworks.store.access import Keys, People, Tenants
from tokenworks.store.changes import Changes
from tokenworks.store.database import Database
from tokenworks.store.objects import Objects
from tokenworks.store.releases import Releases
from tokenworks.store.schema import HEAD
from tokenworks.store.stages import Runs, Stages
from tokenworks.store.tasks import Owners, Sources, Tasks
from tokenworks.store.versions import Corpora, Datasets, Models

_MIGRATION_LOCK = 0x746F6B77  # any number that nobody else locks in this database


def open_catalog(url: str) -> Catalog:
    """Return the catalog at `url`, created or migrated to the newest form first; any number of processes may open it.

    `url` is `sqlite:///PATH` or `postgresql+psycopg://...`. Raises `StoreError` where it cannot be opened.
    """
    database = Database(url)
    try:
        if _revision(database) != HEAD:
            _migrate(database)
    except BaseException:
        database.close()
        raise
    return Catalog(database)


class Catalog:
    """One attribute for each noun."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.tenants = Tenants(database)
        self.people = People(database)
        self.keys = Keys(database)
        self.changes = Changes(database)
        self.owners = Owners(database)
        self.tasks = Tasks(database)
        self.sources = Sources(database)
        self.corpora = Corpora(database)
        self.datasets = Datasets(database)
        self.stages = Stages(database)
        self.runs = Runs(database)
        self.models = Models(database)
        self.releases = Releases(database)
        self.objects = Objects(database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection."""
        self._database.close()


def _revision(database: Database) -> str | None:
    """Return which form the catalog has, or None for an empty one."""
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(database: Database) -> None:
    """Bring the catalog to the newest form in one transaction, while everybody else waits."""
    from alembic import command  # slow to import (0.2 s), and needed once in a catalog's life
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with _alone(database), database.write() as connection:
        _lock_for_migration(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, HEAD)
        except CommandError as error:
            raise StoreError(
                f"catalog {database.place}: {error}; a newer Tokenworks has written it: install that one"
            ) from None


@contextlib.contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Keep other processes of this machine from migrating a SQLite file; PostgreSQL has its own lock."""
    path = database.engine.url.database
    if database.engine.dialect.name != "sqlite" or not path:
        yield
        return
    with locked(Path(f"{path}.lock")):
        yield


def _lock_for_migration(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATION_LOCK})
