"""Making and ending keys. Only the hash of a secret is kept; each change is a ledger entry that holds neither."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from tokenworks.core.clock import Clock, iso
from tokenworks.core.errors import ConfigError, ConflictError, NotFoundError
from tokenworks.core.ids import new_id, sha256_hex
from tokenworks.core.label import Label
from tokenworks.governance.access import Make
from tokenworks.governance.grants import Rights, narrowed
from tokenworks.governance.people import handle_of
from tokenworks.governance.roles import DEFAULT_SCOPES, Roles, check_scopes
from tokenworks.ledger.entries import AccessEntry
from tokenworks.store.nouns import Key
from tokenworks.store.ops import AddKey, AnyOp, EndOthers, EndSecret, RevokeKey

PREFIX = "tw-"
SHOWN = len(PREFIX) + 8  # characters of a secret that name the key; the other 35 stay secret
HOUSE = "house"  # the tenant of the factory's own parts: no key that leaves the process may have it


class KeyRows(Protocol):
    """The part of the catalog that keeps keys."""

    def all(self, tenant: str | None = None) -> list[Key]:
        """Return every key, of one tenant if named."""
        ...

    def change(self, first: Sequence[AnyOp], then: Sequence[AnyOp]) -> None:
        """Do the steps of a change that is recorded nowhere else."""
        ...


class Issuing:
    """Makes, rotates and ends keys."""

    def __init__(self, rows: KeyRows, roles: Roles, *, clock: Clock, make: Make | None) -> None:
        self._rows = rows
        self._roles = roles
        self._clock = clock
        self._make: Make = make or (lambda entry, first, then: rows.change(first, then))

    def create(
        self,
        tenant: str,
        *,
        name: str,
        scopes: Collection[str] | None,
        clearance: Label | None,
        expires_at: float | None,
        project: str,
        owner: str,
        roles: Collection[str],
        by: str,
    ) -> tuple[str, Key]:
        """Return a new secret and what is kept of it."""
        now = self._clock.now()
        if tenant == HOUSE:
            raise ConfigError(f"tenant {HOUSE!r} is the factory itself, which sees every tenant's models; name another")
        given = self._roles.check(roles)
        if scopes is None:
            scopes = () if given else DEFAULT_SCOPES
        check_scopes(scopes)
        if clearance is None:
            clearance = self._roles.clearance(given) if given else Label.INTERNAL
        if expires_at is not None and expires_at <= now:
            raise ConfigError(f"a key that expires at {iso(expires_at)} would never open anything; choose a later time")
        secret = new_secret()
        key = Key(
            hash=sha256_hex(secret.encode()),
            prefix=secret[:SHOWN],
            id=secret[:SHOWN],
            tenant=tenant,
            project=project,
            owner=owner,
            name=name,
            scopes=tuple(sorted(scopes)),
            roles=given,
            clearance=str(clearance),
            created_at=now,
            expires_at=expires_at,
        )
        self._make(_entry("key.new", key, at=now, by=by), (), (AddKey(key=key),))
        return secret, key

    def grant(self, prefix: str, rights: Rights, *, by: str) -> tuple[str, Key]:
        """Return a secret for one task of the key, and what is kept of it."""
        now = self._clock.now()
        parent, secret = self._live(prefix, now), new_secret()
        key = narrowed(parent, rights, self._roles, hash=sha256_hex(secret.encode()), prefix=secret[:SHOWN], now=now)
        self._make(_entry("grant.new", key, at=now, by=by), (), (AddKey(key=key),))
        return secret, key

    def rotate(self, prefix: str, *, grace_s: float, by: str) -> tuple[str, Key]:
        """Return a new secret for the same key; it lives as long as the old one was made to live."""
        now = self._clock.now()
        if not 0 <= grace_s < float("inf"):
            raise ConfigError(f"a grace of {grace_s} s cannot be meant; give the old secret 0 seconds or more")
        old = self._live(prefix, now)
        if old.parent:
            raise ConflictError(f"{prefix} is a grant, which ends with its task: make a new one with `grant new`")
        secret = new_secret()
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        new = msgspec.structs.replace(
            old,
            hash=sha256_hex(secret.encode()),
            prefix=secret[:SHOWN],
            id=old.name_id,
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
            revoked_at=None,
            ended_by="",
        )
        entry = _entry("key.rotate", new, at=now, by=by)
        entry = msgspec.structs.replace(entry, ends_at=now + grace_s)
        self._make(entry, (), (AddKey(key=new), EndOthers(id=new.id, but=new.hash, at=now + grace_s)))
        made = next(key for key in self._rows.all(old.tenant) if key.hash == new.hash)
        if made.revoked_at is not None:
            raise ConflictError(f"key {old.name_id} was revoked while it was rotated: its new secret opens nothing")
        return secret, made

    def retire(self, prefix: str, *, by: str) -> Key:
        """End one secret that has a successor."""
        now = self._clock.now()
        key = self._named(prefix)
        if key.ended_by != "rotation" or not any(other.valid_at(now) for other in self._family(key) if other != key):
            raise ConflictError(
                f"secret {prefix} has no successor that lives: `key rotate` makes one, `key revoke` ends the whole key"
            )
        entry = msgspec.structs.replace(_entry("key.retire", key, at=now, by=by), ends_at=now)
        self._make(entry, (EndSecret(hash=key.hash, at=now),), ())
        return key

    def revoke(self, prefix: str, *, by: str) -> Key:
        """End every secret and grant of a key, and any that is born later; or one grant."""
        now = self._clock.now()
        key = self._named(prefix)
        action = "grant.end" if key.parent else "key.revoke"
        entry = msgspec.structs.replace(_entry(action, key, at=now, by=by), ends_at=now)
        self._make(entry, (RevokeKey(id=key.name_id, at=now),), ())
        return key

    def _named(self, prefix: str) -> Key:
        for key in self._rows.all():
            if key.prefix == prefix:
                return key
        raise NotFoundError(f"no key begins with {prefix!r}; `tokenworks key list` shows those that exist")

    def _family(self, key: Key) -> list[Key]:
        return [other for other in self._rows.all(key.tenant) if other.name_id == key.name_id]

    def _live(self, prefix: str, now: float) -> Key:
        """Return the newest secret of the key if it still opens something."""
        family = self._family(self._named(prefix))
        newest = max(family, key=lambda key: (not key.ended_by, key.created_at))
        if not newest.valid_at(now):
            raise ConflictError(f"key {newest.name_id} was revoked or has expired: make a new one with `key new`")
        return newest


def new_secret() -> str:
    """Return 256 random bits as a key: `tw-` and 43 letters, digits, '-' and '_'."""
    return PREFIX + secrets.token_urlsafe(32)


def _entry(action: str, key: Key, *, at: float, by: str) -> AccessEntry:
    return AccessEntry(
        at=at,
        access_id=new_id("acc"),
        action=action,
        subject=key.name_id,
        tenant=key.tenant,
        by=by,
        name=key.name,
        prefix=key.prefix,
        project=key.project,
        person=handle_of(key.owner) if key.owner else "",
        roles=key.roles,
        scopes=key.scopes,
        clearance=key.clearance,
        expires_at=key.expires_at,
        parent=key.parent,
        models=key.models,
        budget=key.budget,
    )
