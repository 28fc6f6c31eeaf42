"""Who may ask, over one home: keys and people whose every change is on this home's ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tokenworks.core.clock import Clock
from tokenworks.core.files import locked
from tokenworks.core.label import Label
from tokenworks.governance.access import Access
from tokenworks.governance.credentials import Credentials, Identities
from tokenworks.governance.jwks import Jwks
from tokenworks.governance.keys import Keys
from tokenworks.governance.oidc import Rules, Tokens
from tokenworks.governance.people import People
from tokenworks.governance.provider import fetch_keys
from tokenworks.governance.roles import Role, Roles
from tokenworks.governance.stamp import Stamp
from tokenworks.ledger.entries import AccessEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger
from tokenworks.settings import RoleSettings, Settings
from tokenworks.store.catalog import Catalog
from tokenworks.store.ops import AnyOp


class Home(Protocol):
    """The parts of a house that identity needs."""

    home: Path
    settings: Settings
    clock: Any

    @property
    def catalog(self) -> Catalog:
        """What exists."""
        ...

    @property
    def ledger(self) -> Ledger:
        """This process's own log."""
        ...

    @property
    def ledger_root(self) -> Path:
        """Where every writer's log lies."""
        ...


def keys_of(house: Home) -> Keys:
    """Return the keys of `house`, for one event loop."""
    return Keys(
        house.catalog.keys,
        clock=_clock(house),
        roles=roles_of(house.settings.identity.roles),
        generation=_stamp(house).generation,
        make=_making(house, house.catalog),
    )


def people_of(house: Home) -> People:
    """Return the tenants and people of `house`."""
    return People(
        house.catalog.tenants,
        house.catalog.people,
        make=_making(house, house.catalog),
        roles=roles_of(house.settings.identity.roles),
        clock=_clock(house),
    )


def identities_of(house: Home, keys: Keys) -> Identities:
    """Return who says who asks: `keys`, and where an identity provider is named, that too. For one event loop."""
    said, roles, clock = house.settings.identity.oidc, roles_of(house.settings.identity.roles), _clock(house)
    if not said.issuer:
        return keys
    rules = Rules(
        issuer=said.issuer,
        audience=said.audience,
        person_claim=said.person_claim,
        groups_claim=said.groups_claim,
        roles=said.roles,
        tenants=said.tenants,
        tenant=said.tenant,
        leeway_s=said.leeway_s,
    )
    fetch = partial(fetch_keys, said.issuer, timeout_s=said.timeout_s, ca_file=said.ca_file)
    jwks = Jwks(fetch, clock=clock, fresh_s=said.keys_s, kept_s=said.keys_kept_s)
    tokens = Tokens(rules, jwks, people_of(house), roles, clock=clock, generation=_stamp(house).generation)
    return Credentials(keys, tokens)


def roles_of(own: dict[str, RoleSettings]) -> Roles:
    """Return the built-in roles and those of the settings."""
    return Roles(
        {
            name: Role(scopes=frozenset(role.scopes), clearance=Label.parse(role.clearance), about="of this house")
            for name, role in own.items()
        }
    )


def finish_changes(catalog: Catalog, house: Home) -> int:
    """Finish what a kill left of changes of access; return how many those were. One small read where there are none."""
    if not catalog.changes.open():
        return 0
    with locked(_lock(house)):
        return _access(house, catalog).recover(_recorded(house.ledger_root), now=house.clock.now())


def _making(house: Home, catalog: Catalog) -> Callable[[AccessEntry, Sequence[AnyOp], Sequence[AnyOp]], None]:
    def make(entry: AccessEntry, first: Sequence[AnyOp], then: Sequence[AnyOp]) -> None:
        with locked(_lock(house)):  # whoever recovers does not take what is under way for what a kill left
            _access(house, catalog).make(entry, first, then)

    return make


def _access(house: Home, catalog: Catalog) -> Access:
    return Access(
        catalog.changes,
        record=lambda entry: house.ledger.append(entry),  # opened only when there is something to write
        tell=_stamp(house).bump,
        place=str(house.home),
    )


def _recorded(root: Path) -> Callable[[set[str]], set[str]]:
    def recorded(ids: set[str]) -> set[str]:
        return {e.access_id for _, e in read(root) if isinstance(e, AccessEntry) and e.access_id in ids}

    return recorded


def _stamp(house: Home) -> Stamp:
    return Stamp(house.home / "access-stamp")


def _lock(house: Home) -> Path:
    return house.home / "access.lock"


def _clock(house: Home) -> Clock:
    clock: Clock = house.clock
    return clock
