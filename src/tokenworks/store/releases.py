"""Which model answers, since when, and why. History is kept for ever; the ledger is where it comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, delete, func, insert, select

from tokenworks.core.errors import RefusedError
from tokenworks.core.model import Release
from tokenworks.store import schema
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.versions import unknown_version


class Alone:
    """The releases while nobody else can change them: what is decided on what is seen here still holds when applied."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def history(self, alias: str) -> list[Release]:
        """Return everything that ever was in force for `alias`, oldest first."""
        return _history(self._connection, alias)

    def check(self, release: Release) -> None:
        """Ask before recording. Raises `RefusedError`: no owner, `NotFoundError`: no such version."""
        _check(self._connection, release)

    def apply(self, release: Release) -> None:
        """Put `release` into force. Applying the same id again changes nothing; a new one is checked as by `check`."""
        table = schema.releases
        if self._connection.execute(select(table.c.id).where(table.c.id == release.id)).first():
            return
        _check(self._connection, release)
        self._connection.execute(insert(table).values(to_row(release)))

    def catch_up(self, release: Release) -> None:
        """Take in a step that was recorded and never applied: at its time, under everything that came after it."""
        past = self.history(release.alias)
        if any(step.id == release.id for step in past):
            return
        _check(self._connection, release)
        table = schema.releases
        first = next((at for at, step in enumerate(past) if step.at > release.at), len(past))
        later = [to_row(step) for step in past[first:]]
        self._connection.execute(delete(table).where(table.c.id.in_([row["id"] for row in later])))
        self._connection.execute(insert(table), [to_row(release), *later])


class Releases:
    """A view over the ledger's release entries: the newest applied row of an alias is in force."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.contextmanager
    def alone(self) -> Iterator[Alone]:
        """Let nobody else release while inside, in any process; what is applied is in force when this is left."""
        with self._database.write() as connection:
            self._database.hold(connection, schema.releases)
            yield Alone(connection)

    def check(self, release: Release) -> None:
        """Ask before recording. Raises `RefusedError`: no owner, `NotFoundError`: no such version."""
        with self._database.read() as connection:
            _check(connection, release)

    def apply(self, release: Release) -> None:
        """Put `release` into force. Applying the same id again changes nothing; a new one is checked as by `check`."""
        with self.alone() as releases:
            releases.apply(release)

    def catch_up(self, release: Release) -> None:
        """Take in a step that was recorded and never applied: at its time, under everything that came after it."""
        with self.alone() as releases:
            releases.catch_up(release)

    def rebuild(self, releases: Iterable[Release]) -> int:
        """Replace the whole view by `releases`, in the order of the ledger; facts are not judged again."""
        with self._database.write() as connection:
            self._database.hold(connection, schema.releases)
            rows = list({release.id: to_row(release) for release in releases}.values())  # read now: none can come since
            connection.execute(delete(schema.releases))
            if rows:
                connection.execute(insert(schema.releases), rows)
        return len(rows)

    def current(self, alias: str) -> Release | None:
        """Return what is in force for `alias`; a release with version 0 says that nothing answers."""
        return self._newest(alias, until=None)

    def at(self, alias: str, time: float) -> Release | None:
        """Return what was in force for `alias` at `time`: which model was in production on 3 March, and why?"""
        return self._newest(alias, until=time)

    def all_current(self) -> list[Release]:
        """Return what is in force, for every alias by name."""
        table = schema.releases
        newest = select(func.max(table.c.number)).group_by(table.c.alias)
        query = select(table).where(table.c.number.in_(newest)).order_by(table.c.alias)
        with self._database.read() as connection:
            return [from_row(row, Release) for row in connection.execute(query).all()]

    def history(self, alias: str) -> list[Release]:
        """Return everything that ever was in force for `alias`, oldest first."""
        with self._database.read() as connection:
            return _history(connection, alias)

    def _newest(self, alias: str, until: float | None) -> Release | None:
        table = schema.releases
        # By the order of application, not by time: a clock set back must not bring an old release into force.
        query = select(table).where(table.c.alias == alias).order_by(table.c.number.desc()).limit(1)
        if until is not None:
            query = query.where(table.c.at <= until)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return from_row(row, Release) if row else None


def _history(connection: Connection, alias: str) -> list[Release]:
    table = schema.releases
    query = select(table).where(table.c.alias == alias).order_by(table.c.number)
    return [from_row(row, Release) for row in connection.execute(query).all()]


def _check(connection: Connection, release: Release) -> None:
    if release.version == 0:
        return  # taking a model out of service needs nobody's name and no version
    versions, tasks = schema.model_versions.c, schema.tasks.c
    known = connection.execute(select(versions.version, versions.owner).where(versions.model == release.model)).all()
    owners = {row.version: row.owner for row in known}
    for number in (release.version, release.canary or release.version):
        if number not in owners:
            raise unknown_version(release.model, number, sorted(owners))
    task = connection.execute(select(tasks.owner).where(tasks.name == release.model)).first()
    owner = task.owner if task else owners[release.version]
    if not owner:
        raise RefusedError(
            f"task {release.model}: {release.model}@{release.version} cannot be released: the task has no owner; "
            'add owner = "mailto:..." to [task] in its file and run it again'
        )
