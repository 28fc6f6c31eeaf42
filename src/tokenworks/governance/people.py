"""Tenants with their projects, and people with their roles: who there is, each change with its ledger entry."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.errors import ConfigError, ConflictError, NotFoundError, RefusedError
from tokenworks.core.ids import new_id, pseudonym
from tokenworks.governance.access import Make
from tokenworks.governance.roles import Roles
from tokenworks.ledger.entries import AccessEntry
from tokenworks.store.nouns import Person, Project, Tenant
from tokenworks.store.ops import AddPerson, AddProject, AddTenant, EndPerson, SetRoles, ShutProject, ShutTenant

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HOUSE = "house"
LONGEST_ID = 256  # characters of what an identity provider calls somebody


class TenantRows(Protocol):
    """The part of the catalog that knows tenants and projects."""

    def get(self, name: str) -> Tenant | None:
        """Return the tenant, or None."""
        ...

    def project(self, tenant: str, name: str) -> Project | None:
        """Return the project, or None."""
        ...


class PersonRows(Protocol):
    """The part of the catalog that knows people."""

    def get(self, id: str) -> Person | None:
        """Return the person, or None."""
        ...

    def by_handle(self, handle: str) -> Person | None:
        """Return the person whom the ledger calls `handle`, or None."""
        ...


class SignedIn(NamedTuple):
    """Somebody, and the tenant where they belong if it was entered."""

    person: Person
    tenant: Tenant | None


class People:
    """Tenants, projects and people of a catalog. `make` makes changes."""

    def __init__(
        self, tenants: TenantRows, people: PersonRows, *, make: Make, roles: Roles, clock: Clock | None = None
    ) -> None:
        self._tenants = tenants
        self._people = people
        self._make = make
        self._roles = roles
        self._clock: Clock = clock or SystemClock()

    # -- tenants and projects

    def new_tenant(self, name: str, *, by: str) -> None:
        """Enter a tenant."""
        _check_name("tenant", name)
        if name == HOUSE:
            raise ConfigError(f"tenant {HOUSE!r} is the factory itself; choose another name")
        if self._tenants.get(name) is not None:
            raise ConflictError(f"tenant {name!r} exists already; `tokenworks tenant list` shows all")
        at = self._clock.now()
        entry = self._entry("tenant.new", name, tenant=name, by=by)
        self._make(entry, (), (AddTenant(tenant=Tenant(name=name, created_at=at)),))

    def close_tenant(self, name: str, *, by: str) -> None:
        """Let in none of a tenant's keys and people from now on; nothing of theirs is deleted."""
        self._tenant(name)
        entry = self._entry("tenant.close", name, tenant=name, by=by)
        self._make(entry, (ShutTenant(name=name, at=entry.at),), ())

    def open_tenant(self, name: str, *, by: str) -> None:
        """Let a closed tenant in again."""
        self._tenant(name)
        self._make(self._entry("tenant.open", name, tenant=name, by=by), (), (ShutTenant(name=name, at=None),))

    def new_project(self, tenant: str, name: str, *, by: str) -> None:
        """Enter a project of a tenant."""
        _check_name("project", name)
        self._tenant(tenant)
        if self._tenants.project(tenant, name) is not None:
            raise ConflictError(f"project {tenant}/{name} exists already; `tokenworks tenant list` shows all")
        entry = self._entry("project.new", f"{tenant}/{name}", tenant=tenant, by=by)
        project = Project(tenant=tenant, name=name, created_at=entry.at)
        self._make(entry, (), (AddProject(project=project),))

    def close_project(self, tenant: str, name: str, *, by: str) -> None:
        """Let in none of a project's keys from now on."""
        self._project(tenant, name)
        entry = self._entry("project.close", f"{tenant}/{name}", tenant=tenant, by=by)
        self._make(entry, (ShutProject(tenant=tenant, name=name, at=entry.at),), ())

    def open_project(self, tenant: str, name: str, *, by: str) -> None:
        """Let a closed project in again."""
        self._project(tenant, name)
        entry = self._entry("project.open", f"{tenant}/{name}", tenant=tenant, by=by)
        self._make(entry, (), (ShutProject(tenant=tenant, name=name, at=None),))

    # -- people

    def new_person(self, id: str, *, tenant: str, roles: Collection[str], by: str) -> None:
        """Enter somebody with roles; whoever signs in is entered by that alone."""
        _check_person(id)
        given = self._roles.check(roles)
        if tenant == HOUSE:
            raise ConfigError(f"tenant {HOUSE!r} is the factory itself; nobody signs in there")
        if self._people.get(id) is not None:
            raise ConflictError(f"person {id!r} is known already; `tokenworks person roles` changes what they may do")
        entry = self._entry("person.new", handle_of(id), tenant=tenant, by=by, roles=given)
        person = Person(id=id, handle=handle_of(id), tenant=tenant, roles=given, created_at=entry.at)
        self._make(entry, (), (AddPerson(person=person), AddTenant(tenant=Tenant(name=tenant, created_at=entry.at))))

    def set_roles(self, id: str, roles: Collection[str], *, by: str) -> None:
        """Give somebody these roles in the place of those that were given here before."""
        person = self.person(id)
        given = self._roles.check(roles)
        entry = self._entry("person.roles", person.handle, tenant=person.tenant, by=by, roles=given)
        kept = tuple(role for role in person.roles if role in given)
        first = (SetRoles(id=id, roles=kept),) if kept != person.roles else ()
        self._make(entry, first, (SetRoles(id=id, roles=given),))

    def end_person(self, id: str, *, by: str) -> None:
        """Let somebody in no more, by no key of theirs and no token."""
        person = self.person(id)
        entry = self._entry("person.end", person.handle, tenant=person.tenant, by=by)
        self._make(entry, (EndPerson(id=id, at=entry.at),), ())

    def restore_person(self, id: str, *, by: str) -> None:
        """Let somebody in again."""
        person = self.person(id)
        entry = self._entry("person.restore", person.handle, tenant=person.tenant, by=by)
        self._make(entry, (), (EndPerson(id=id, at=None),))

    def person(self, id: str) -> Person:
        """Return the person; raise `NotFoundError` where there is none."""
        found = self._people.get(id)
        if found is None:
            raise NotFoundError(f"nobody is known as {id!r}; `tokenworks person list` shows who is")
        return found

    def known(self, handle: str) -> Person | None:
        """Return the person whom the ledger calls `handle`."""
        return self._people.by_handle(handle)

    def signed_in(self, id: str, *, tenant: str, claimed: Collection[str]) -> SignedIn | None:
        """Return who signed in and their tenant; what the identity provider says anew is entered and recorded.

        None for somebody who is unknown here and brings no role: of them nothing is kept.
        """
        _check_person(id)
        person, groups = self._people.get(id), tuple(sorted(set(claimed)))
        if person is None and not groups:
            return None
        if person is None:
            entry = self._entry("person.sign-in", handle_of(id), tenant=tenant, by="oidc", roles=groups)
            person = Person(id=id, handle=handle_of(id), tenant=tenant, claimed=groups, created_at=entry.at)
            add = AddTenant(tenant=Tenant(name=tenant, created_at=entry.at))
            self._make(entry, (), (AddPerson(person=person), add))
        elif (person.tenant, person.claimed) != (tenant, groups):
            entry = self._entry("person.sign-in", person.handle, tenant=tenant, by="oidc", roles=groups)
            kept = tuple(role for role in person.claimed if role in groups)
            first = (SetRoles(id=id, claimed=kept),) if kept != person.claimed else ()
            self._make(entry, first, (SetRoles(id=id, claimed=groups, tenant=tenant),))
        return self.standing(id)

    def standing(self, id: str) -> SignedIn:
        """Return the person and their tenant as they stand now."""
        person = self.person(id)
        return SignedIn(person, self._tenants.get(person.tenant))

    # -- what a key may be made for

    def check_key(self, *, tenant: str, project: str = "", owner: str = "") -> None:
        """Raise where no key can be made for this project or person."""
        found = self._tenants.get(tenant)
        if found is not None and found.closed_at is not None:
            raise RefusedError(f"tenant {tenant!r} is closed; `tokenworks tenant open {tenant}` opens it")
        if project and self._project(tenant, project).closed_at is not None:
            raise RefusedError(f"project {tenant}/{project} is closed; open it first")
        if owner:
            person = self.person(owner)
            if person.tenant != tenant:
                raise ConfigError(f"{owner!r} belongs to tenant {person.tenant!r}, not to {tenant!r}")
            if person.ended_at is not None:
                raise RefusedError(f"{owner!r} is let in no more; `tokenworks person restore` lets them in again")

    def _tenant(self, name: str) -> Tenant:
        found = self._tenants.get(name)
        if found is None:
            raise NotFoundError(f"tenant {name!r} does not exist; `tokenworks tenant new {name}` makes it")
        return found

    def _project(self, tenant: str, name: str) -> Project:
        found = self._tenants.project(tenant, name)
        if found is None:
            raise NotFoundError(f"project {tenant}/{name} does not exist; `tokenworks tenant project` makes one")
        return found

    def _entry(self, action: str, subject: str, **rest: Any) -> AccessEntry:
        return AccessEntry(at=self._clock.now(), access_id=new_id("acc"), action=action, subject=subject, **rest)


def handle_of(id: str) -> str:
    """Return the pseudonym under which somebody stands in the ledger."""
    return f"person-{pseudonym('person', id)}"


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{what} {name!r}: a name is 1 to 64 of a-z A-Z 0-9 . _ -, the first no sign")


def _check_person(id: str) -> None:
    if not id or len(id) > LONGEST_ID or not id.isprintable():
        raise ConfigError(f"a person is known by 1 to {LONGEST_ID} printable characters, not by {id[:40]!r}")
