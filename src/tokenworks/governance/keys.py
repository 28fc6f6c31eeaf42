"""API keys: made once, kept as hashes, checked on every request, revoked within a second.

A secret is 256 random bits, of which 48 name the key: one SHA-256 keeps it, since there is nothing to guess
(docs/decisions/0073-api-keys.md).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Collection
from typing import Protocol

import msgspec

from tokenworks.core.clock import Clock, SystemClock, iso
from tokenworks.core.errors import ConfigError, NotFoundError, RefusedError
from tokenworks.core.ids import sha256_hex
from tokenworks.core.label import Label
from tokenworks.store.nouns import Key

PREFIX = "tw-"
SHOWN = len(PREFIX) + 8  # characters of a secret that name the key; the other 35 stay secret
SCOPES = {
    "infer": "ask models",
    "search": "search the documents",
    "feedback": "say what an answer was worth",
    "versions": "ask for an exact model version, released or not",
    "files": "keep files here",
    "tune": "have models fine-tuned",
    "evals": "have models evaluated",
    "learn": "let the factory learn from what is asked and answered",
}
DEFAULT_SCOPES = frozenset({"infer", "search", "feedback", "learn"})
HOUSE = "house"  # the tenant of the factory's own parts: no key that leaves the process may have it
FRESH_S = 1.0
REMEMBERED = 4096


class KeyRefusedError(RefusedError):
    """A credential that opens nothing: missing, unknown, expired or revoked."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and what that allows."""

    key_id: str
    tenant: str
    name: str = ""
    scopes: frozenset[str] = DEFAULT_SCOPES
    clearance: Label = Label.INTERNAL


class KeyRows(Protocol):
    """The part of the catalog that knows keys, by the SHA-256 of their secrets."""

    def put(self, key: Key) -> None:
        """Add or replace a key."""
        ...

    def find(self, hash: str) -> Key | None:
        """Return the key with this hash."""
        ...

    def all(self, tenant: str | None = None) -> list[Key]:
        """Return every key, of one tenant if named."""
        ...

    def revoke(self, hash: str, *, at: float) -> None:
        """Note that the key opens nothing from `at` on."""
        ...


class Keys:
    """The keys of a catalog, remembered for `fresh_s` seconds: that long a revoked key may still work elsewhere."""

    def __init__(self, rows: KeyRows, *, clock: Clock | None = None, fresh_s: float = FRESH_S) -> None:
        self._rows = rows
        self._clock: Clock = clock or SystemClock()
        self._fresh_s = fresh_s
        self._seen: OrderedDict[str, tuple[float, Key | None]] = OrderedDict()
        self._internal: dict[str, Principal] = {}

    def create(
        self,
        tenant: str,
        *,
        name: str = "",
        scopes: Collection[str] = DEFAULT_SCOPES,
        clearance: Label = Label.INTERNAL,
        expires_at: float | None = None,
    ) -> tuple[str, Key]:
        """Return a new secret, to be shown once, and what is kept of it."""
        if tenant == HOUSE:
            raise ConfigError(f"tenant {HOUSE!r} is the factory itself, which sees every tenant's models; name another")
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown:
            raise ConfigError(f"scope {unknown[0]!r} does not exist; the scopes are {', '.join(SCOPES)}")
        if expires_at is not None and expires_at <= self._clock.now():
            raise ConfigError(f"a key that expires at {iso(expires_at)} would never open anything; choose a later time")
        secret = new_secret()
        key = Key(
            hash=sha256_hex(secret.encode()),
            prefix=secret[:SHOWN],
            tenant=tenant,
            name=name,
            scopes=tuple(sorted(scopes)),
            clearance=str(clearance),
            created_at=self._clock.now(),
            expires_at=expires_at,
        )
        self._rows.put(key)
        return secret, key

    def internal(self, principal: Principal) -> str:
        """Return a secret for a part of this very process; it dies with the process and is kept nowhere."""
        secret = new_secret()
        self._internal[sha256_hex(secret.encode())] = principal
        return secret

    def revoke(self, prefix: str) -> Key:
        """End the key that begins with `prefix`: at once here, within `fresh_s` in other processes."""
        found = [key for key in self._rows.all() if key.prefix == prefix]
        if not found:
            raise NotFoundError(f"no key begins with {prefix!r}; `tokenworks key list` shows those that exist")
        for key in found:
            self._rows.revoke(key.hash, at=self._clock.now())
            self._seen.pop(key.hash, None)
        return found[0]

    async def verify(self, secret: str) -> Principal:
        """Return who holds `secret`; raise `KeyRefusedError` saying what is wrong with it."""
        if not secret:
            raise KeyRefusedError("no API key was sent; send the header 'Authorization: Bearer tw-...'")
        digest = sha256_hex(secret.encode())
        if digest in self._internal:
            return self._internal[digest]
        key = await self._find(digest)
        if key is None or not hmac.compare_digest(key.hash, digest):
            raise KeyRefusedError("this API key is not known here; check it, or create one with `tokenworks key new`")
        now = self._clock.now()
        if key.revoked_at is not None and key.revoked_at <= now:
            raise KeyRefusedError(
                f"API key {key.prefix} was revoked at {iso(key.revoked_at)}; ask its owner for a new one"
            )
        if key.expires_at is not None and key.expires_at <= now:
            raise KeyRefusedError(f"API key {key.prefix} expired at {iso(key.expires_at)}; ask its owner for a new one")
        return principal_of(key)

    async def stand_in(self, key_id: str) -> Principal:
        """Return whom the key called `key_id` stands for now; raise `KeyRefusedError` where it opens nothing any more.

        For work that goes on in a caller's name after the call: nothing from outside may reach it.
        """
        now = self._clock.now()
        found = [key for key in await asyncio.to_thread(self._rows.all) if key.prefix == key_id]
        for key in found:
            if (key.revoked_at is None or key.revoked_at > now) and (key.expires_at is None or key.expires_at > now):
                return principal_of(key)
        raise KeyRefusedError(f"key {key_id} was revoked or has expired since this work began; begin it anew")

    async def _find(self, digest: str) -> Key | None:
        """Return the key from memory while that is fresh, else from the catalog, in a thread."""
        seen = self._seen.get(digest)
        if seen is not None and self._clock.monotonic() - seen[0] < self._fresh_s:
            return seen[1]
        key = await asyncio.to_thread(self._rows.find, digest)
        self._seen[digest] = (self._clock.monotonic(), key)
        self._seen.move_to_end(digest)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return key


def new_secret() -> str:
    """Return 256 random bits as a key: `tw-` and 43 letters, digits, '-' and '_'."""
    return PREFIX + secrets.token_urlsafe(32)


def principal_of(key: Key) -> Principal:
    """Return what a key allows."""
    return Principal(
        key_id=key.prefix,
        tenant=key.tenant,
        name=key.name,
        scopes=frozenset(key.scopes),
        clearance=Label.parse(key.clearance),
    )
