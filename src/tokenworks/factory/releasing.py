"""What answers in production, as people decide it."""

from __future__ import annotations

from tokenworks.core.errors import NotFoundError
from tokenworks.core.model import ModelVersion, Release
from tokenworks.factory.house import House
from tokenworks.factory.making import user
from tokenworks.line.release.release import promote, rollback, withdraw
from tokenworks.line.release.trial import Mode, begin_trial, end_trial


class Releasing(House):
    """A home whose releases people change."""

    def promote(self, ref: str, *, reason: str) -> Release:
        """Let version `ref` answer for its task from now on."""
        version = self.version(ref)
        return promote(
            version.model,
            version,
            reason=reason,
            by=user(),
            catalog=self.catalog,
            ledger=self.ledger,
            clock=self.clock,
        )

    def rollback(self, alias: str, *, reason: str) -> Release:
        """Let the version before answer again."""
        return rollback(alias, reason=reason, by=user(), catalog=self.catalog, ledger=self.ledger, clock=self.clock)

    def withdraw(self, alias: str, *, reason: str) -> Release:
        """Let nothing answer for `alias` any more."""
        return withdraw(alias, reason=reason, by=user(), catalog=self.catalog, ledger=self.ledger, clock=self.clock)

    def begin_trial(self, ref: str, *, share: float, mode: Mode, reason: str) -> Release:
        """Put version `ref` on trial for a `share` of the users; a running server ends it at proven harm."""
        version = self.version(ref)
        return begin_trial(
            version.model,
            version,
            share=share,
            mode=mode,
            reason=reason,
            by=user(),
            catalog=self.catalog,
            ledger=self.ledger,
            clock=self.clock,
        )

    def end_trial(self, alias: str, *, reason: str) -> Release:
        """Let the incumbent of `alias` answer everybody again."""
        return end_trial(alias, reason=reason, by=user(), catalog=self.catalog, ledger=self.ledger, clock=self.clock)

    def version(self, ref: str) -> ModelVersion:
        """Return the version called `ref`: name@version, or a name for what is released."""
        if "@" in ref:
            return self.catalog.models.find(ref)
        current = self.catalog.releases.current(ref)
        if current is None or current.version == 0:
            raise NotFoundError(f"nothing is released as {ref!r}; name a version as {ref}@1")
        return self.catalog.models.get(current.model, current.version)
