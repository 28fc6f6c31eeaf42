"""What a person decided about quarantined feedback: an entry or a principal is pardoned until that is taken back."""

from __future__ import annotations

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import Object

KIND = "quarantine"


class Pardon(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback that is learned from although the guards hold it back."""

    task: str
    feedback_id: str = ""  # this entry
    principal: str = ""  # or everything of this principal
    by: str
    why: str
    at: float


class Pardons(msgspec.Struct, frozen=True, kw_only=True):
    """All pardons of a task."""

    feedback: frozenset[str] = frozenset()
    principals: frozenset[str] = frozenset()


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the quarantine part."""

    request_id: str
    feedback_id: str
    principal: str
    reason: str
    label: str = ""  # the answer it gives, its first 200 characters
    text: str = ""  # what was asked, its first 200 characters


def pardon(
    catalog: Catalog, task: str, *, feedback_id: str = "", principal: str = "", by: str, why: str, at: float
) -> Object:
    """Release an entry, or everything of a principal, from quarantine, from the next selection on.

    Raises `ConfigError` unless exactly one of them is named and somebody says who and why, and `ConflictError` where
    it is released already.
    """
    if not by or not why:
        raise ConfigError(f"task {task}: a release from quarantine needs who decides (by) and the reason (why)")
    found = Pardon(task=task, feedback_id=feedback_id, principal=principal, by=by, why=why, at=at)
    made = Object(
        kind=KIND,
        id=_id(task, feedback_id, principal),
        scope=task,
        body=msgspec.to_builtins(found),
        created_at=at,
    )
    catalog.objects.add(made)
    return made


def revoke(catalog: Catalog, task: str, *, feedback_id: str = "", principal: str = "") -> bool:
    """Take a release back; return whether there was one."""
    return catalog.objects.delete(KIND, _id(task, feedback_id, principal))


def pardons(catalog: Catalog, task: str) -> Pardons:
    """Return what people released of a task."""
    every = [msgspec.convert(one.body, Pardon) for one in catalog.objects.of(KIND, task)]
    return Pardons(
        feedback=frozenset(one.feedback_id for one in every if one.feedback_id),
        principals=frozenset(one.principal for one in every if one.principal),
    )


def _id(task: str, feedback_id: str, principal: str) -> str:
    if bool(feedback_id) == bool(principal):
        raise ConfigError(f"task {task}: name either a feedback entry or a principal")
    return f"{task}/fb/{feedback_id}" if feedback_id else f"{task}/principal/{principal}"
