"""Changes to the catalog's objects that two writers may make at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from tokenworks.core.errors import ConflictError
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

T = TypeVar("T", bound=msgspec.Struct)


def change(objects: Objects, kind: str, id: str, into: type[T], step: Callable[[T], T | None]) -> T | None:
    """Store what `step` makes of the object's body and return it; None where it makes nothing, or there is no object.

    `step` is called again with the newer body where somebody else was faster: it must depend on nothing else.
    """
    while True:
        found = objects.get(kind, id)
        after = step(msgspec.convert(found.body, into)) if found is not None else None
        if found is None or after is None:
            return None
        try:
            objects.update(msgspec.structs.replace(found, body=msgspec.to_builtins(after)))
        except ConflictError:
            continue
        return after


def add_once(objects: Objects, object: Object) -> None:
    """Keep the object; one of the same id, from before a kill, stands."""
    try:
        objects.add(object)
    except ConflictError:
        return
