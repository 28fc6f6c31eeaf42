"""Who may knock: tenants, and the hashes of their keys."""

from __future__ import annotations

from sqlalchemy import select, update

from tokenworks.core.errors import NotFoundError
from tokenworks.store import schema
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.nouns import Key, Tenant


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


class Keys:
    """API keys by hash: the key itself is never stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, key: Key) -> None:
        """Add `key`, or replace the one with that hash."""
        with self._database.write() as connection:
            self._database.upsert(connection, schema.keys, to_row(key, as_json=["scopes"]))

    def find(self, hash: str) -> Key | None:
        """Return the key whose SHA-256 is `hash`, revoked and expired ones too, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.keys).where(schema.keys.c.hash == hash)).first()
        return from_row(row, Key, as_json=["scopes"]) if row else None

    def all(self, tenant: str | None = None) -> list[Key]:
        """Return every key, or those of `tenant`, oldest first."""
        query = select(schema.keys).order_by(schema.keys.c.created_at, schema.keys.c.hash)
        if tenant is not None:
            query = query.where(schema.keys.c.tenant == tenant)
        with self._database.read() as connection:
            return [from_row(row, Key, as_json=["scopes"]) for row in connection.execute(query).all()]

    def revoke(self, hash: str, *, at: float) -> None:
        """Make the key useless from `at` on; a key revoked before keeps its first time."""
        keys = schema.keys
        change = update(keys).where(keys.c.hash == hash, keys.c.revoked_at.is_(None)).values(revoked_at=at)
        with self._database.write() as connection:
            if not connection.execute(select(keys.c.hash).where(keys.c.hash == hash)).first():
                raise NotFoundError(f"there is no key with the hash {hash[:12]}...; list keys to see those that exist")
            connection.execute(change)
