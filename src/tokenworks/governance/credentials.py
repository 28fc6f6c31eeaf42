"""Every kind of credential that may be sent, told apart by how it begins: keys of the house, tokens of a provider."""

from __future__ import annotations

from typing import Protocol

from tokenworks.governance.principal import Principal


class Identities(Protocol):
    """Whoever can say who holds a credential."""

    async def verify(self, secret: str) -> Principal:
        """Return who holds `secret`; raise `KeyRefusedError` saying what is wrong with it."""
        ...

    def at_hand(self, secret: str) -> Principal | None:
        """Return who holds `secret` where that is known without asking anybody; None says nothing about it."""
        ...

    @property
    def forgotten(self) -> int:
        """A number that rises where this process changes access: what was known before then counts no more."""
        ...

    async def stand_in(self, key_id: str) -> Principal:
        """Return whom the id stands for now, for work that goes on in their name."""
        ...


class Credentials:
    """Keys and tokens. A key is never taken for a token: it begins with `tw-`, a JWT with `eyJ`, the JSON of `{"`."""

    def __init__(self, keys: Identities, tokens: Identities) -> None:
        self._keys = keys
        self._tokens = tokens

    async def verify(self, secret: str) -> Principal:
        """Return who holds `secret`."""
        return await (self._tokens if secret.startswith("eyJ") else self._keys).verify(secret)

    def at_hand(self, secret: str) -> Principal | None:
        """Return who holds `secret` where that is known."""
        return (self._tokens if secret.startswith("eyJ") else self._keys).at_hand(secret)

    @property
    def forgotten(self) -> int:
        """A number that rises where this process changes access."""
        return self._keys.forgotten + self._tokens.forgotten

    async def stand_in(self, key_id: str) -> Principal:
        """Return whom the id stands for now."""
        return await (self._tokens if key_id.startswith("person-") else self._keys).stand_in(key_id)
