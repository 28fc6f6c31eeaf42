"""Who may knock: tenants with their projects, people, and the hashes of keys. Changes are made in `changes.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, select, update

from tokenworks.core.errors import NotFoundError
from tokenworks.store import schema
from tokenworks.store.changes import Changes
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.nouns import Key, Person, Project, Standing, Tenant
from tokenworks.store.ops import AnyOp

_KEY_JSON = ("scopes", "roles", "models", "budget")
_PERSON_JSON = ("roles", "claimed")


class Tenants:
    """Organisations or departments that use the factory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, tenant: Tenant) -> None:
        """Add `tenant`, or replace the one of that name."""
        with self._database.write() as connection:
            self._database.upsert(connection, schema.tenants, to_row(tenant))

    def get(self, name: str) -> Tenant | None:
        """Return the tenant, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.tenants).where(schema.tenants.c.name == name)).first()
        return from_row(row, Tenant) if row else None

    def all(self) -> list[Tenant]:
        """Return every tenant by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.tenants).order_by(schema.tenants.c.name)).all()
        return [from_row(row, Tenant) for row in rows]

    def projects(self, tenant: str | None = None) -> list[Project]:
        """Return every project, or those of `tenant`, by name."""
        columns = schema.projects.c
        query = select(schema.projects).order_by(columns.tenant, columns.name)
        if tenant is not None:
            query = query.where(columns.tenant == tenant)
        with self._database.read() as connection:
            return [from_row(row, Project) for row in connection.execute(query).all()]

    def project(self, tenant: str, name: str) -> Project | None:
        """Return the project, or None."""
        return next((one for one in self.projects(tenant) if one.name == name), None)


class People:
    """Those who sign in or have keys of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, id: str) -> Person | None:
        """Return the person, or None."""
        return self._first(schema.people.c.id == id)

    def by_handle(self, handle: str) -> Person | None:
        """Return the person whom the ledger calls `handle`, or None."""
        return self._first(schema.people.c.handle == handle)

    def all(self) -> list[Person]:
        """Return everybody by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.people).order_by(schema.people.c.id)).all()
        return [from_row(row, Person, as_json=_PERSON_JSON) for row in rows]

    def _first(self, named: Any) -> Person | None:
        with self._database.read() as connection:
            row = connection.execute(select(schema.people).where(named)).first()
        return from_row(row, Person, as_json=_PERSON_JSON) if row else None


class Keys:
    """API keys by hash: the key itself is never stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, key: Key) -> None:
        """Add `key`, or replace the one with that hash."""
        with self._database.write() as connection:
            self._database.upsert(connection, schema.keys, to_row(key, as_json=_KEY_JSON))

    def find(self, hash: str) -> Key | None:
        """Return the key whose SHA-256 is `hash`, revoked and expired ones too, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.keys).where(schema.keys.c.hash == hash)).first()
        return from_row(row, Key, as_json=_KEY_JSON) if row else None

    def standing(self, hash: str) -> Standing | None:
        """Return the key with this hash and all that decides whether it opens anything, in one read, or None."""
        keys, tenants, projects, people = schema.keys, schema.tenants, schema.projects, schema.people
        of_project = and_(projects.c.tenant == keys.c.tenant, projects.c.name == keys.c.project)
        query = (
            select(
                keys,
                tenants.c.closed_at.label("tenant_closed_at"),
                projects.c.closed_at.label("project_closed_at"),
                *(column.label(f"person_{column.name}") for column in people.c),
            )
            .outerjoin(tenants, tenants.c.name == keys.c.tenant)
            .outerjoin(projects, of_project)
            .outerjoin(people, people.c.id == keys.c.owner)
            .where(keys.c.hash == hash)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        found = row._mapping
        return Standing(
            key=from_row(row, Key, as_json=_KEY_JSON),
            tenant_closed_at=found["tenant_closed_at"],
            project_closed_at=found["project_closed_at"],
            person=_person(found) if found["person_id"] is not None else None,
        )

    def all(self, tenant: str | None = None) -> list[Key]:
        """Return every key, or those of `tenant`, oldest first."""
        query = select(schema.keys).order_by(schema.keys.c.created_at, schema.keys.c.hash)
        if tenant is not None:
            query = query.where(schema.keys.c.tenant == tenant)
        with self._database.read() as connection:
            return [from_row(row, Key, as_json=_KEY_JSON) for row in connection.execute(query).all()]

    def change(self, first: Sequence[AnyOp], then: Sequence[AnyOp]) -> None:
        """Do the steps of a change that is recorded nowhere else."""
        Changes(self._database).apply([*first, *then])

    def revoke(self, hash: str, *, at: float) -> None:
        """Make the key useless from `at` on; a key that ends before keeps its first time."""
        keys = schema.keys
        alive = update(keys).where(keys.c.hash == hash, keys.c.revoked_at.is_(None))
        change = alive.values(revoked_at=at, ended_by="revocation")
        with self._database.write() as connection:
            if not connection.execute(select(keys.c.hash).where(keys.c.hash == hash)).first():
                raise NotFoundError(f"there is no key with the hash {hash[:12]}...; list keys to see those that exist")
            connection.execute(change)


def _person(found: Any) -> Person:
    values = {name: found[f"person_{name}"] for name in Person.__struct_fields__}
    for name in _PERSON_JSON:
        values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, Person)
