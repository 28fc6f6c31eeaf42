"""Things kept under an id, each with a revision so that two writers never overwrite each other unseen."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from tokenworks.core.errors import ConflictError
from tokenworks.store import schema
from tokenworks.store.database import Database, from_row, to_row
from tokenworks.store.nouns import Object

_JSON = ("body",)


class Objects:
    """Files, jobs, evals, turns: by kind and id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, object: Object) -> None:
        """Keep a new object; raise `ConflictError` where its id is taken."""
        try:
            with self._database.write() as connection:
                taken = select(schema.objects.c.id).where(*_named(object.kind, object.id))
                if connection.execute(taken).first():
                    raise ConflictError(f"{object.kind} {object.id} exists already; choose another id")
                connection.execute(insert(schema.objects).values(to_row(object, as_json=_JSON)))
        except IntegrityError:  # another process was faster
            raise ConflictError(f"{object.kind} {object.id} exists already; choose another id") from None

    def update(self, object: Object) -> Object:
        """Store the changed body and return the object with its new revision.

        Raises `ConflictError` where somebody changed or deleted it since `object` was read: read it again.
        """
        after = msgspec.structs.replace(object, revision=object.revision + 1)
        change = update(schema.objects).where(
            *_named(object.kind, object.id), schema.objects.c.revision == object.revision
        )
        with self._database.write() as connection:
            done = connection.execute(change.values(to_row(after, as_json=_JSON)))
            if done.rowcount != 1:
                raise ConflictError(f"{object.kind} {object.id} was changed meanwhile; read it again")
        return after

    def get(self, kind: str, id: str) -> Object | None:
        """Return the object, or None."""
        if "\0" in id:  # PostgreSQL has no text with a zero byte in it, so nothing is called so
            return None
        found = self._all(select(schema.objects).where(*_named(kind, id)))
        return found[0] if found else None

    def of(self, kind: str, scope: str | None = None) -> list[Object]:
        """Return all of `kind`, or those of `scope`, oldest first."""
        columns = schema.objects.c
        query = select(schema.objects).where(columns.kind == kind).order_by(columns.created_at, columns.id)
        return self._all(query if scope is None else query.where(columns.scope == scope))

    def delete(self, kind: str, id: str) -> bool:
        """Forget the object; return whether there was one."""
        with self._database.write() as connection:
            return connection.execute(delete(schema.objects).where(*_named(kind, id))).rowcount == 1

    def _all(self, query: Any) -> list[Object]:
        with self._database.read() as connection:
            return [from_row(row, Object, as_json=_JSON) for row in connection.execute(query).all()]


def _named(kind: str, id: str) -> tuple[Any, Any]:
    return schema.objects.c.kind == kind, schema.objects.c.id == id
