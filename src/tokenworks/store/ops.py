"""The steps of which a change of access is made. Knows no database."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.store.nouns import Key, Person, Project, Tenant


class Op(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """One step of a change. Done twice it is done once."""


class AddKey(Op, frozen=True, kw_only=True, tag="add-key"):
    """A new secret or grant opens something. One whose key was revoked meanwhile is born revoked."""

    key: Key


class EndSecret(Op, frozen=True, kw_only=True, tag="end-secret"):
    """One secret opens nothing from `at` on, since another has taken its place; the earliest end counts."""

    hash: str
    at: float


class EndOthers(Op, frozen=True, kw_only=True, tag="end-others"):
    """Every secret of the key but one opens nothing from `at` on; the earliest end counts."""

    id: str
    but: str  # hash
    at: float


class RevokeKey(Op, frozen=True, kw_only=True, tag="revoke-key"):
    """No secret and no grant of the key opens anything from `at` on, and none that is born later."""

    id: str
    at: float


class AddTenant(Op, frozen=True, kw_only=True, tag="add-tenant"):
    """A tenant exists; one that does already stays as it is."""

    tenant: Tenant


class ShutTenant(Op, frozen=True, kw_only=True, tag="shut-tenant"):
    """A tenant is closed from `at` on, or open again where `at` is None."""

    name: str
    at: float | None


class AddProject(Op, frozen=True, kw_only=True, tag="add-project"):
    """A project exists; one that does already stays as it is."""

    project: Project


class ShutProject(Op, frozen=True, kw_only=True, tag="shut-project"):
    """A project is closed from `at` on, or open again where `at` is None."""

    tenant: str
    name: str
    at: float | None


class AddPerson(Op, frozen=True, kw_only=True, tag="add-person"):
    """A person exists; one that does already stays as they are."""

    person: Person


class SetRoles(Op, frozen=True, kw_only=True, tag="set-roles"):
    """A person has these roles; None: as before. A tenant is only given where the identity provider names it."""

    id: str
    roles: tuple[str, ...] | None = None
    claimed: tuple[str, ...] | None = None
    tenant: str = ""


class EndPerson(Op, frozen=True, kw_only=True, tag="end-person"):
    """A person is let in no more from `at` on, or again where `at` is None."""

    id: str
    at: float | None


AnyOp = (
    AddKey
    | EndSecret
    | EndOthers
    | RevokeKey
    | AddTenant
    | ShutTenant
    | AddProject
    | ShutProject
    | AddPerson
    | SetRoles
    | EndPerson
)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed. What takes away comes first, what gives only after the ledger knows."""

    id: str
    place: str  # the home whose ledger records it
    at: float
    entry: dict[str, Any]  # the ledger's entry
    first: tuple[AnyOp, ...] = ()
    then: tuple[AnyOp, ...] = ()
