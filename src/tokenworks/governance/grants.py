"""Grants: what one task may do, for a while, in the name of a key and never more than it. Knows no request."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tokenworks.core.clock import iso
from tokenworks.core.errors import ConfigError, ConflictError
from tokenworks.core.label import Label
from tokenworks.governance.roles import Roles, check_scopes
from tokenworks.store.nouns import Budget, Key

MOST_S = 31 * 86400.0
LONGEST_TASK = 64  # characters
MOST_AMOUNT = 2**50  # sums of it are still exact in every kind of counter: those of Redis are doubles


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a task is to have: of what its key has, these scopes, models and labels. None and empty: as the key."""

    task: str
    lasts_s: float
    scopes: frozenset[str] | None = None
    models: tuple[str, ...] = ()  # by their own names
    clearance: Label | None = None
    budget: Budget | None = None


def narrowed(parent: Key, rights: Rights, roles: Roles, *, hash: str, prefix: str, now: float) -> Key:
    """Return `parent` with `rights` alone, under a secret of its own; raise `ConfigError` for more than it has.

    What it may do is fixed here: scopes that the roles of the key gain later are not the grant's.
    """
    _check(parent, rights, now)
    has = frozenset(parent.scopes) | roles.scopes(parent.roles)
    wanted = has if rights.scopes is None else rights.scopes
    check_scopes(wanted)
    if wanted - has:
        raise ConfigError(
            f"key {parent.name_id} lacks the scope {min(wanted - has)!r} (it has: {', '.join(sorted(has)) or 'none'}); "
            "a grant is never more than its key"
        )
    clearance = Label.parse(parent.clearance)
    if rights.clearance is not None and rights.clearance > clearance:
        raise ConfigError(
            f"key {parent.name_id} is cleared for {clearance}; a grant for {rights.clearance} would be more than that"
        )
    ends = now + rights.lasts_s
    return msgspec.structs.replace(
        parent,
        hash=hash,
        prefix=prefix,
        id=prefix,
        parent=parent.name_id,
        name=rights.task,
        scopes=tuple(sorted(wanted)),
        models=tuple(sorted(set(rights.models))),
        clearance=str(clearance if rights.clearance is None else rights.clearance),
        created_at=now,
        expires_at=ends if parent.expires_at is None else min(ends, parent.expires_at),
        revoked_at=None,
        ended_by="",
        budget=None if rights.budget == Budget() else rights.budget,
    )


def _check(parent: Key, rights: Rights, now: float) -> None:
    if parent.parent:
        raise ConfigError(f"{parent.prefix} is a grant; make one of its key: `grant new TASK --key {parent.parent}`")
    if not parent.valid_at(now):
        raise ConflictError(f"key {parent.name_id} opens nothing at {iso(now)}: make the grant of one that does")
    if not 0 < len(rights.task) <= LONGEST_TASK or not rights.task.isprintable():
        raise ConfigError(f"a task is called by 1 to {LONGEST_TASK} printable characters, not by {rights.task[:80]!r}")
    if not 0 < rights.lasts_s <= MOST_S:
        raise ConfigError(
            f"a grant lasts at most {MOST_S / 86400:.0f} days, not {rights.lasts_s:g} s; make a key for more"
        )
    for model in rights.models:
        if not model or "@" in model or not model.isprintable():
            raise ConfigError(f"{model!r} is no model's own name; a grant is for all versions of a model")
    for name, amount in {} if rights.budget is None else msgspec.structs.asdict(rights.budget).items():
        if amount is not None and not 0 < amount <= MOST_AMOUNT:
            raise ConfigError(
                f"a budget of {amount} {name} for {rights.task!r} cannot be meant; give 1 to {MOST_AMOUNT}"
            )
