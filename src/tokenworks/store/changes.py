"""Changes of who may ask: planned in the catalog, told elsewhere, then done; whatever a kill leaves can be finished."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, and_, case, delete, or_, select, update

from tokenworks.store import schema
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.nouns import Key, Tenant
from tokenworks.store.ops import (
    AddKey,
    AddPerson,
    AddProject,
    AddTenant,
    AnyOp,
    Change,
    EndOthers,
    EndPerson,
    EndSecret,
    RevokeKey,
    SetRoles,
    ShutProject,
    ShutTenant,
)

_JSON = ("entry", "first", "then")


class Changes:
    """The changes under way."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, change: Change) -> None:
        """Plan `change` and do what it does first, in one step."""
        with self._database.write() as connection:
            connection.execute(self._database.insert(schema.access_changes).values(to_row(change, as_json=_JSON)))
            for op in change.first:
                self._apply(connection, op)

    def finish(self, change: Change) -> None:
        """Do the rest of `change` and forget the plan, in one step."""
        with self._database.write() as connection:
            for op in change.then:
                self._apply(connection, op)
            self._forget(connection, change)

    def drop(self, change: Change) -> None:
        """Forget the plan of what did not come to be."""
        with self._database.write() as connection:
            self._forget(connection, change)

    def open(self) -> list[Change]:
        """Return the changes that were planned and neither finished nor dropped, oldest first."""
        query = select(schema.access_changes).order_by(schema.access_changes.c.at, schema.access_changes.c.id)
        with self._database.read() as connection:
            return [from_row(row, Change, as_json=_JSON) for row in connection.execute(query).all()]

    def apply(self, ops: Sequence[AnyOp]) -> None:
        """Do `ops` at once, recorded nowhere."""
        with self._database.write() as connection:
            for op in ops:
                self._apply(connection, op)

    def _forget(self, connection: Connection, change: Change) -> None:
        connection.execute(delete(schema.access_changes).where(schema.access_changes.c.id == change.id))

    def _apply(self, connection: Connection, op: AnyOp) -> None:
        match op:
            case AddKey():
                self._add_key(connection, op.key)
            case EndSecret():
                _end_secrets(connection, schema.keys.c.hash == op.hash, at=op.at)
            case EndOthers():
                columns = schema.keys.c
                _end_secrets(connection, and_(columns.id == op.id, columns.hash != op.but), at=op.at)
            case RevokeKey():
                _revoke_key(connection, op)
            case AddTenant():
                self._add(connection, schema.tenants, to_row(op.tenant))
            case AddProject():
                self._add(connection, schema.projects, to_row(op.project))
            case AddPerson():
                self._add(connection, schema.people, to_row(op.person, as_json=["roles", "claimed"]))
            case ShutTenant():
                tenants = schema.tenants
                connection.execute(update(tenants).where(tenants.c.name == op.name).values(closed_at=op.at))
            case ShutProject():
                columns = schema.projects.c
                named = columns.tenant == op.tenant, columns.name == op.name
                connection.execute(update(schema.projects).where(*named).values(closed_at=op.at))
            case SetRoles():
                _set_roles(connection, op)
            case EndPerson():
                people = schema.people
                connection.execute(update(people).where(people.c.id == op.id).values(ended_at=op.at))

    def _add(self, connection: Connection, table: Table, row: dict[str, Any]) -> None:
        connection.execute(self._database.insert(table).values(row).on_conflict_do_nothing())

    def _add_key(self, connection: Connection, key: Key) -> None:
        siblings = _hold_siblings(connection, key.parent or key.name_id)
        ended = [at for at, by in siblings if by == "revocation" and at is not None]
        row = to_row(key, as_json=["scopes", "roles", "models", "budget"])
        if ended:
            row |= {"revoked_at": min(ended), "ended_by": "revocation"}
        self._add(connection, schema.keys, row)
        self._add(connection, schema.tenants, to_row(Tenant(name=key.tenant, created_at=key.created_at)))


def _hold_siblings(connection: Connection, id: str) -> list[Any]:
    """Return when and why each secret of the key ends; PostgreSQL locks them, so that rotating waits for revoking."""
    columns = schema.keys.c
    siblings = select(columns.revoked_at, columns.ended_by).where(columns.id == id).with_for_update()
    return list(connection.execute(siblings))


def _end_secrets(connection: Connection, which: Any, *, at: float) -> None:
    columns = schema.keys.c
    later = or_(columns.revoked_at.is_(None), columns.revoked_at > at)
    ended = case((columns.ended_by == "", "rotation"), else_=columns.ended_by)
    connection.execute(update(schema.keys).where(which, later).values(revoked_at=at, ended_by=ended))


def _revoke_key(connection: Connection, op: RevokeKey) -> None:
    _hold_siblings(connection, op.id)  # a secret that is being born is seen by the next statement
    columns = schema.keys.c
    at = case((columns.revoked_at < op.at, columns.revoked_at), else_=op.at)
    of_it = or_(columns.id == op.id, columns.parent == op.id)  # the key's secrets and its grants
    connection.execute(update(schema.keys).where(of_it).values(revoked_at=at, ended_by="revocation"))


def _set_roles(connection: Connection, op: SetRoles) -> None:
    encode = msgspec.json.Encoder().encode
    changed = {
        name: encode(roles).decode()
        for name, roles in (("roles", op.roles), ("claimed", op.claimed))
        if roles is not None
    }
    if op.tenant:
        changed["tenant"] = op.tenant
    if changed:
        connection.execute(update(schema.people).where(schema.people.c.id == op.id).values(changed))
