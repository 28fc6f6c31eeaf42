"""What makes a task turn although no feedback came: texts that were erased, documents that changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import msgspec

from tokenworks.core.errors import ConflictError
from tokenworks.flywheel.turn.ending import DUE
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import Object


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task has to turn."""

    reason: str = ""
    erasures: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()  # that learned from what was erased
    documents: bool = False  # they changed since the released version learned from them
    since: float = 0.0  # when the first of the reasons came up


def due(catalog: Catalog, task: str) -> Due:
    """Return why `task` has to turn; an empty one where it has not."""
    known = catalog.objects.get(DUE, task)
    return msgspec.convert(known.body, Due) if known else Due()


def mark(
    catalog: Catalog, task: str, *, now: float, erasure: str = "", versions: Iterable[str] = (), documents: bool = False
) -> None:
    """Have `task` turn, for this reason besides those that it has; the same mark made again changes nothing."""
    before = due(catalog, task)
    marked = Due(
        erasures=tuple(sorted({*before.erasures, *([erasure] if erasure else [])})),
        versions=tuple(sorted({*before.versions, *versions})),
        documents=documents or before.documents,
        since=before.since or now,
    )
    marked = msgspec.structs.replace(marked, reason=_reason(marked))
    if marked == before and not documents:
        return
    # Made anew: a turn that began before this mark does not answer it.
    catalog.objects.delete(DUE, task)
    with contextlib.suppress(ConflictError):  # another process has just marked it: the next look finds it due
        catalog.objects.add(Object(kind=DUE, id=task, scope=task, body=msgspec.to_builtins(marked), created_at=now))


def _reason(marked: Due) -> str:
    parts = []
    if marked.erasures:
        parts.append(f"{', '.join(marked.versions)} learned from erased data ({', '.join(marked.erasures)})")
    if marked.documents:
        parts.append("documents changed")
    return "; ".join(parts)
