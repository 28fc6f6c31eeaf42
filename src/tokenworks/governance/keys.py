"""API keys: made once, kept as hashes, checked on every request, revoked at once here and within a second elsewhere.

A secret is 256 random bits, of which 48 name the key: one SHA-256 keeps it, since there is nothing to guess
(docs/decisions/0073-api-keys.md).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.ids import sha256_hex
from tokenworks.core.label import Label
from tokenworks.governance.access import Make
from tokenworks.governance.grants import Rights
from tokenworks.governance.issuing import HOUSE, PREFIX, SHOWN, Issuing, KeyRows, new_secret
from tokenworks.governance.principal import KeyRefusedError, Principal, ends_at, of_key, why_refused
from tokenworks.governance.remembering import FRESH_S, Remembering, Seen
from tokenworks.governance.roles import DEFAULT_SCOPES, SCOPES, Roles
from tokenworks.governance.stamp import unchanging
from tokenworks.store.nouns import Key, Standing

__all__ = [
    "DEFAULT_SCOPES", "FRESH_S", "HOUSE", "PREFIX", "SCOPES", "SHOWN",
    "KeyRefusedError", "Keys", "Principal", "StandingRows", "new_secret",
]  # fmt: skip


class StandingRows(KeyRows, Protocol):
    """The part of the catalog that knows keys, by the SHA-256 of their secrets."""

    def standing(self, hash: str) -> Standing | None:
        """Return the key with this hash and all that decides whether it opens anything."""
        ...


class Keys:
    """The keys of a catalog, remembered for `fresh_s` seconds: that long a revoked key may still work elsewhere.

    `generation` rises when another process of this home has changed access: then nothing remembered counts. `make`
    makes changes, each with its ledger entry; without it they go to the catalog alone.
    """

    def __init__(
        self,
        rows: StandingRows,
        *,
        clock: Clock | None = None,
        fresh_s: float = FRESH_S,
        roles: Roles | None = None,
        generation: Callable[[], int] = unchanging,
        make: Make | None = None,
    ) -> None:
        self._rows = rows
        self._clock: Clock = clock or SystemClock()
        self._roles = roles or Roles()
        self._issuing = Issuing(rows, self._roles, clock=self._clock, make=make)
        self._seen = Remembering(clock=self._clock, fresh_s=fresh_s, generation=generation)
        self._internal: dict[str, Principal] = {}

    # -- changes

    def create(
        self,
        tenant: str,
        *,
        name: str = "",
        scopes: Collection[str] | None = None,
        clearance: Label | None = None,
        expires_at: float | None = None,
        project: str = "",
        owner: str = "",
        roles: Collection[str] = (),
        by: str = "",
    ) -> tuple[str, Key]:
        """Return a new secret, to be shown once, and what is kept of it.

        Without roles a key has `DEFAULT_SCOPES` and is cleared for internal; with roles, what these allow.
        """
        return self._issuing.create(
            tenant, name=name, scopes=scopes, clearance=clearance, expires_at=expires_at, project=project,
            owner=owner, roles=roles, by=by,
        )  # fmt: skip

    def grant(self, prefix: str, rights: Rights, *, by: str = "") -> tuple[str, Key]:
        """Return a new secret for one task of the key that has one beginning with `prefix`, shown once."""
        return self._issuing.grant(prefix, rights, by=by)

    def internal(self, principal: Principal) -> str:
        """Return a secret for a part of this very process; it dies with the process and is kept nowhere."""
        secret = new_secret()
        self._internal[sha256_hex(secret.encode())] = principal
        return secret

    def rotate(self, prefix: str, *, grace_s: float, by: str = "") -> tuple[str, Key]:
        """Return a new secret for the key that has one beginning with `prefix`; the old one ends in `grace_s`."""
        made = self._issuing.rotate(prefix, grace_s=grace_s, by=by)
        self._seen.forget()
        return made

    def retire(self, prefix: str, *, by: str = "") -> Key:
        """End the grace of a secret that was rotated: from now on only its successor opens anything."""
        ended = self._issuing.retire(prefix, by=by)
        self._seen.forget()
        return ended

    def revoke(self, prefix: str, *, by: str = "") -> Key:
        """End the key or grant that has a secret beginning with `prefix`: at once here, within `fresh_s` elsewhere."""
        ended = self._issuing.revoke(prefix, by=by)
        self._seen.forget()
        return ended

    # -- every request

    async def verify(self, secret: str) -> Principal:
        """Return who holds `secret`; raise `KeyRefusedError` saying what is wrong with it."""
        if not secret:
            raise KeyRefusedError("no API key was sent; send the header 'Authorization: Bearer tw-...'")
        digest = sha256_hex(secret.encode())
        internal = self._internal.get(digest)
        if internal is not None:
            return internal
        return await self._seen.holder(digest, lambda: self._find(digest))

    def at_hand(self, secret: str) -> Principal | None:
        """Return who holds `secret` where that is remembered: the same object as long as it is."""
        digest = sha256_hex(secret.encode())
        return self._seen.at_hand(digest, lambda: self._find(digest))

    @property
    def forgotten(self) -> int:
        """A number that rises where this process changes access."""
        return self._seen.forgotten

    async def stand_in(self, key_id: str) -> Principal:
        """Return whom the key or grant called `key_id` stands for now; raise `KeyRefusedError` where it opens nothing.

        For work that goes on in a caller's name after the call: nothing from outside may reach it.
        """
        now = self._clock.now()
        for key in await asyncio.to_thread(self._rows.all):
            if key.name_id != key_id:
                continue
            standing = await asyncio.to_thread(self._rows.standing, key.hash)
            if standing is not None and now < ends_at(standing):
                return of_key(standing, self._roles)
        raise KeyRefusedError(f"key {key_id} was revoked or has expired since this work began; begin it anew")

    async def _find(self, digest: str) -> Seen:
        """Ask the catalog, in a thread."""
        standing = await asyncio.to_thread(self._rows.standing, digest)
        if standing is None or not hmac.compare_digest(standing.key.hash, digest):
            return Seen(float("inf"), None, partial(why_refused, None))
        return Seen(ends_at(standing), of_key(standing, self._roles), partial(why_refused, standing))
