"""Legal holds: whose texts may be neither erased nor dropped for their age, since when and why."""

from __future__ import annotations

import msgspec

from tokenworks.core.errors import NotFoundError, RefusedError
from tokenworks.core.ids import new_id, pseudonym
from tokenworks.factory.house import House
from tokenworks.factory.reach import Reach
from tokenworks.ledger.entries import HoldEntry
from tokenworks.ledger.vault import Subject
from tokenworks.store.nouns import Object

KIND = "hold"


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold in force."""

    hold_id: str
    tenant: str
    user: str = ""  # a pseudonym; empty: the whole tenant
    because: str
    by: str
    since: float

    @property
    def subject(self) -> Subject:
        """Whose texts it covers."""
        return Subject(self.tenant, self.user)


def hold(house: House, *, tenant: str, user: str = "", because: str, by: str) -> Hold:
    """Put a hold on the texts of a user, by the name that the caller sent, or of a whole tenant.

    In force before it is on the ledger: a kill in between leaves too much held, never too little.
    """
    if not tenant or not because.strip():
        raise RefusedError("a hold needs a tenant and a reason: --tenant NAME --because 'case 4711'")
    made = Hold(
        hold_id=new_id("hold"),
        tenant=tenant,
        user=pseudonym(tenant, user),
        because=because,
        by=by,
        since=house.clock.now(),
    )
    body = msgspec.to_builtins(made)
    house.catalog.objects.add(Object(kind=KIND, id=made.hold_id, scope=tenant, body=body, created_at=made.since))
    _record(house, made, "set", because, by)
    return made


def lift(house: House, hold_id: str, *, because: str, by: str) -> Hold:
    """End a hold; the ledger knows first. Raises `NotFoundError`."""
    found = next((one for one in holds(house) if one.hold_id == hold_id), None)
    if found is None:
        raise NotFoundError(f"hold {hold_id} is not in force; see: tokenworks hold list")
    _record(house, found, "lifted", because, by)
    house.catalog.objects.delete(KIND, hold_id)
    return found


def holds(house: House) -> list[Hold]:
    """Return the holds in force, the oldest first."""
    return [msgspec.convert(one.body, Hold) for one in house.catalog.objects.of(KIND)]


def refuse_held(house: House, found: Reach) -> None:
    """Raise `RefusedError` where a hold covers anything that an erasure would reach."""
    for one in holds(house):
        if one.tenant == found.target.tenant and (not one.user or one.user in found.users):
            raise RefusedError(
                f"hold {one.hold_id} ({one.because}) covers texts of this tenant: "
                f"lift it first: tokenworks hold lift {one.hold_id}"
            )


def _record(house: House, one: Hold, action: str, because: str, by: str) -> None:
    house.ledger.append(
        HoldEntry(
            at=house.clock.now(),
            hold_id=one.hold_id,
            action=action,
            tenant=one.tenant,
            user=one.user,
            because=because,
            by=by,
        )
    )
