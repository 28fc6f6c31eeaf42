"""The parts of one home, each opened when it is first needed and closed in turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from tokenworks.core.clock import SystemClock
from tokenworks.core.errors import ConflictError
from tokenworks.factory.identity import finish_changes, keys_of, people_of
from tokenworks.gateway.admission.remembered import Remembered
from tokenworks.governance.keys import Keys
from tokenworks.governance.limits import Limits
from tokenworks.governance.people import People
from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.lookup import Lookup
from tokenworks.ledger.signing import open_key
from tokenworks.ledger.spending import Spending, load_spending
from tokenworks.ledger.vault import Vault
from tokenworks.ledger.writer import Ledger
from tokenworks.line.events import Listener, unheard
from tokenworks.line.release.keys import SigningKey, ensure_signing_key
from tokenworks.line.release.reconcile import reconcile
from tokenworks.settings import Settings, load_settings
from tokenworks.store.artifacts import ArtifactStore, open_artifacts
from tokenworks.store.catalog import Catalog, open_catalog

WRITERS = 64  # processes that may write to the ledger of one home at a time, per role


class House:
    """One home with its parts. Use as a context manager."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        home: str | Path | None = None,
        role: str = "cli",
        listen: Listener = unheard,
    ) -> None:
        self.settings = settings or load_settings(home=Path(home).expanduser() if home else None)
        self.home = self.settings.home_path
        self.clock = SystemClock()
        self.listen = listen
        self._role = role
        self._close: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files, processes and connections, the newest first."""
        while self._close:
            self._close.pop()()

    def listening(self, listen: Listener) -> Self:
        """Tell `listen` what the line does from now on; return this factory."""
        self.listen = listen
        return self

    # -- parts, each opened when it is first needed

    @cached_property
    def catalog(self) -> Catalog:
        """What exists. Releases that a kill left in the ledger alone are folded in."""
        self.home.mkdir(parents=True, exist_ok=True)
        catalog = open_catalog(self.settings.catalog_url)
        self._close.append(catalog.close)
        read_before = self.home / "reconciled.json" if catalog.releases.all_current() else None
        reconcile(self.ledger_root, catalog, cursor=read_before)  # a catalog that was lost reads the whole log again
        finish_changes(catalog, self)
        return catalog

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Bytes by content hash."""
        store = self.settings.store
        return open_artifacts(
            self.settings.artifacts_url, cache=self.home / "cache" / "artifacts", s3_endpoint=store.s3_endpoint
        )

    @property
    def ledger_root(self) -> Path:
        """Where every writer's log lies."""
        return self.home / "ledger"

    @cached_property
    def ledger(self) -> Ledger:
        """This process's own log, its checkpoints signed with the key of this home."""
        key = open_key(self.home / "keys", self.ledger_root)
        for number in range(WRITERS):
            try:
                ledger = Ledger(
                    self.ledger_root,
                    f"{self._role}-{number}",
                    segment_bytes=self.settings.ledger.segment_mb << 20,
                    key=key,
                )
            except ConflictError:  # another process of ours writes there
                continue
            self._close.append(ledger.close)
            return ledger
        raise ConflictError(f"{WRITERS} processes write to {self.ledger_root} already; end some of them")

    @cached_property
    def lookup(self) -> Lookup:
        """Requests and feedback by name."""
        lookup = Lookup(self.ledger_root, self.home / "views" / "lookup.db")
        self._close.append(lookup.close)
        return lookup

    @cached_property
    def bodies(self) -> Bodies:
        """Prompts, answers and corrections, beside the log."""
        vault = Vault(self.home / "keys")
        self._close.append(vault.close)
        bodies = Bodies(self.home / "bodies", vault=vault)
        self._close.append(bodies.close)
        return bodies

    @cached_property
    def idempotency(self) -> Remembered:
        """Idempotency keys that were used."""
        remembered = Remembered(self.home / "idempotency")
        self._close.append(remembered.close)
        return remembered

    @cached_property
    def key(self) -> SigningKey:
        """What models are signed with."""
        return ensure_signing_key(self.home)

    @cached_property
    def keys(self) -> Keys:
        """Who may ask."""
        return self.new_keys()

    def new_keys(self) -> Keys:
        """Return the keys for one event loop."""
        return keys_of(self)

    @cached_property
    def people(self) -> People:
        """Tenants, projects and people."""
        return people_of(self)

    @cached_property
    def limits(self) -> Limits:
        """How much anybody may have."""
        return Limits(self.catalog.objects, clock=self.clock)

    def spending(self) -> Spending:
        """Return what was spent, as the ledger has it now."""
        return load_spending(self.ledger_root, self.home / "views" / "spending.json")
