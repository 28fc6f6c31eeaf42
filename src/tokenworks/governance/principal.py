"""Who asks, and what that allows: made of a key's or a person's standing, once, and kept while it is fresh."""

from __future__ import annotations

import msgspec

from tokenworks.core.clock import iso
from tokenworks.core.errors import RefusedError
from tokenworks.core.label import Label
from tokenworks.governance.roles import DEFAULT_SCOPES, Roles
from tokenworks.store.nouns import Budget, Person, Standing


class KeyRefusedError(RefusedError):
    """A credential that opens nothing: missing, unknown, expired or revoked."""


class Principal(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """Who asks, and what that allows."""

    key_id: str  # of the key, through every rotation and for its grants; of who signed in, their pseudonym
    tenant: str
    name: str = ""
    scopes: frozenset[str] = DEFAULT_SCOPES
    clearance: Label = Label.INTERNAL
    project: str = ""
    person: str = ""  # the pseudonym of who it is; empty: a service
    roles: tuple[str, ...] = ()  # those that it acts in
    grant: str = ""  # the id of the grant that is used
    task: str = ""  # what the grant is for
    models: tuple[str, ...] = ()  # those that the grant is for; empty: all
    budget: Budget | None = None  # the grant's own

    @property
    def credential_id(self) -> str:
        """What `stand_in` finds these very rights by: the grant where one is used, else the key."""
        return self.grant or self.key_id


def of_key(standing: Standing, roles: Roles) -> Principal:
    """Return what a key allows: its scopes and those of its roles; a person's key no more than the person may."""
    key, person = standing.key, standing.person
    scopes = frozenset(key.scopes)
    if not key.parent:  # what a grant may do was fixed when it was made
        scopes |= roles.scopes(key.roles)
    acting = key.roles
    clearance = Label.parse(key.clearance)
    if key.owner:
        theirs = roles_of(person) if person is not None else ()
        scopes &= roles.scopes(theirs)
        clearance = min(clearance, roles.clearance(theirs))
        acting = tuple(role for role in theirs if role in key.roles) or theirs
    return Principal(
        key_id=key.parent or key.name_id,
        tenant=key.tenant,
        name=key.name,
        scopes=scopes,
        clearance=clearance,
        project=key.project,
        person=person.handle if person is not None else "",
        roles=acting,
        grant=key.name_id if key.parent else "",
        task=key.name if key.parent else "",
        models=key.models,
        budget=key.budget,
    )


def of_person(person: Person, roles: Roles) -> Principal:
    """Return what somebody who signed in may do."""
    held = roles_of(person)
    return Principal(
        key_id=person.handle,
        tenant=person.tenant,
        scopes=roles.scopes(held),
        clearance=roles.clearance(held),
        person=person.handle,
        roles=held,
    )


def roles_of(person: Person) -> tuple[str, ...]:
    """Return the roles somebody has, given here or by their groups."""
    return tuple(sorted({*person.roles, *person.claimed}))


def ends_at(standing: Standing) -> float:
    """Return when the key stops opening anything, in seconds since the epoch."""
    key, person = standing.key, standing.person
    ends = [key.expires_at, key.revoked_at, standing.tenant_closed_at, standing.project_closed_at]
    ends.append(person.ended_at if person is not None else None)
    return min((end for end in ends if end is not None), default=float("inf"))


def why_refused(standing: Standing | None, now: float) -> str:
    """Return why a key opens nothing at `now`, and the way out."""
    if standing is None:
        return "this API key is not known here; check it, or create one with `tokenworks key new`"
    key, person = standing.key, standing.person
    if key.parent and not key.valid_at(now):
        end = min(at for at in (key.revoked_at, key.expires_at) if at is not None)
        return f"grant {key.prefix} for {key.name!r} ended at {iso(end)}; ask for a new one if the task goes on"
    if key.revoked_at is not None and key.revoked_at <= now:
        how = "was replaced by a new secret" if key.ended_by == "rotation" else "was revoked"
        return f"API key {key.prefix} {how} at {iso(key.revoked_at)}; ask its owner for a new one"
    if key.expires_at is not None and key.expires_at <= now:
        return f"API key {key.prefix} expired at {iso(key.expires_at)}; ask its owner for a new one"
    if standing.tenant_closed_at is not None and standing.tenant_closed_at <= now:
        return f"tenant {key.tenant} was closed at {iso(standing.tenant_closed_at)}; ask the operators to open it"
    if standing.project_closed_at is not None and standing.project_closed_at <= now:
        return f"project {key.project} was closed at {iso(standing.project_closed_at)}; ask the operators to open it"
    if person is not None and person.ended_at is not None and person.ended_at <= now:
        return f"API key {key.prefix} belongs to somebody who was let go at {iso(person.ended_at)}"
    return f"API key {key.prefix} opens nothing now; ask its owner for a new one"
