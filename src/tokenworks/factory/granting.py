"""What an operator does about keys at the machine; each step is on the ledger with who did it."""

from __future__ import annotations

from collections.abc import Collection

from tokenworks.core.errors import ConfigError, NotFoundError
from tokenworks.core.files import write_atomic
from tokenworks.core.ids import sha256_hex
from tokenworks.core.label import Label
from tokenworks.factory.house import House
from tokenworks.factory.limiting import price_list
from tokenworks.factory.making import user
from tokenworks.governance.grants import Rights
from tokenworks.governance.keys import DEFAULT_SCOPES
from tokenworks.governance.principal import ends_at
from tokenworks.ledger.spending import Spent
from tokenworks.store.nouns import Key


class Granting(House):
    """A home whose keys can be made and ended."""

    def new_key(
        self,
        name: str,
        *,
        tenant: str,
        clearance: Label | None = None,
        days: float | None = None,
        project: str = "",
        owner: str = "",
        roles: Collection[str] = (),
    ) -> str:
        """Make an API key and return it; only its hash is kept."""
        self.people.check_key(tenant=tenant, project=project, owner=owner)
        expires = self.clock.now() + days * 86400 if days is not None else None
        secret, _ = self.keys.create(
            tenant, name=name, clearance=clearance, expires_at=expires, project=project, owner=owner, roles=roles,
            by=user(),
        )  # fmt: skip
        return secret

    def new_grant(self, prefix: str, rights: Rights) -> tuple[str, Key]:
        """Make a secret for one task of a key and return it; only its hash is kept."""
        budget, prices = rights.budget, price_list(self.settings.prices)
        if budget is not None and budget.money_micro is not None and not prices:
            raise ConfigError(
                f"a budget in money for {rights.task!r} would bound nothing, since no model has a price; "
                "set [prices], or bound it by tokens"
            )
        return self.keys.grant(prefix, rights, by=user())

    def grant_standings(self) -> list[tuple[Key, Spent]]:
        """Return every grant with what the ledger says it came to."""
        spending = self.spending()
        return [(key, spending.of_grant(key.name_id)) for key in self.catalog.keys.all() if key.parent]

    def end_grant(self, prefix: str) -> None:
        """Make a grant useless from now on, and nothing else of its key."""
        if not any(key.prefix == prefix and key.parent for key in self.catalog.keys.all()):
            raise NotFoundError(f"no grant begins with {prefix!r}; `tokenworks grant list` shows those that exist")
        self.keys.revoke(prefix, by=user())

    def rotate_key(self, prefix: str, *, grace_s: float) -> tuple[str, Key]:
        """Return a new secret for the same key; what begins with `prefix` works for `grace_s` more."""
        return self.keys.rotate(prefix, grace_s=grace_s, by=user())

    def retire_key(self, prefix: str) -> None:
        """End the grace of a secret that was rotated."""
        self.keys.retire(prefix, by=user())

    def revoke_key(self, prefix: str) -> None:
        """Make every secret of the key that has one beginning with `prefix` useless from now on."""
        self.keys.revoke(prefix, by=user())


def opens(house: House, secret: str) -> bool:
    """Return whether `secret` opens anything here now."""
    standing = house.catalog.keys.standing(sha256_hex(secret.encode()))
    return standing is not None and house.clock.now() < ends_at(standing)


def local_key(house: House) -> str:
    """Return this home's own API key, readable by its owner alone: made at the first start, and where it was ended."""
    path = house.home / "api-key"
    if path.exists() and opens(house, kept := path.read_text().strip()):
        return kept
    secret, _ = house.keys.create(
        "default",
        name="local",
        scopes=DEFAULT_SCOPES | {"versions", "files", "tune", "evals"},
        clearance=Label.RESTRICTED,
        by=user(),
    )
    write_atomic(path, secret.encode(), mode=0o600)
    return secret
