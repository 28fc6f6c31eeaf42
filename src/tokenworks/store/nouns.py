"""What the catalog knows, as frozen structs. Times are seconds since the Unix epoch."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

RunStatus = Literal["running", "done", "failed"]


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation or department that uses the factory."""

    name: str
    created_at: float
    closed_at: float | None = None  # from then on none of its keys and people are let in


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a tenant's work, with keys of its own."""

    tenant: str
    name: str
    created_at: float
    closed_at: float | None = None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who signs in, or who has keys."""

    id: str  # as the identity provider calls them, or a name of the house's own
    handle: str  # the pseudonym that stands in the ledger
    tenant: str
    roles: tuple[str, ...] = ()  # given here
    claimed: tuple[str, ...] = ()  # that the identity provider's groups gave at the last sign-in
    created_at: float = 0.0
    ended_at: float | None = None  # from then on neither they nor their keys are let in


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The most that a grant may come to, whatever its key has left; None: no bound of its own."""

    tokens: int | None = None  # from its first request to its last, as is what follows
    money_micro: int | None = None  # millionths of the price list's unit
    requests: int | None = None  # that an engine answered
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, known by its hash only."""

    hash: str  # SHA-256 of the whole key, hex
    prefix: str  # the first characters, so that people can tell keys apart
    tenant: str
    name: str
    scopes: tuple[str, ...] = ()
    clearance: str = "internal"  # the highest label that it may see
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    id: str = ""  # what every secret of this key has in common: the prefix of its first
    project: str = ""
    owner: str = ""  # the id of the person whose key it is; empty: a service's
    roles: tuple[str, ...] = ()
    ended_by: str = ""  # why `revoked_at` is set: rotation | revocation
    parent: str = ""  # of a grant: the key in whose name it asks; then `name` is the task
    models: tuple[str, ...] = ()  # of a grant: those that it may ask; empty: all that the key may
    budget: Budget | None = None  # of a grant

    @property
    def name_id(self) -> str:
        """What limits, ledger entries and jobs know the key by, through every rotation."""
        return self.id or self.prefix

    @property
    def kind(self) -> str:
        """Whose it is, `person` or `service`; or that it is a `grant`."""
        if self.parent:
            return "grant"
        return "person" if self.owner else "service"

    def valid_at(self, time: float) -> bool:
        """Return whether the key opens anything at `time`."""
        ends = [end for end in (self.expires_at, self.revoked_at) if end is not None]
        return all(time < end for end in ends)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A key with all that decides whether it opens anything now."""

    key: Key
    tenant_closed_at: float | None = None
    project_closed_at: float | None = None
    person: Person | None = None  # whose key it is, where the catalog knows them


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A person or group that answers for tasks."""

    address: str  # mailto:...
    name: str = ""
    since: float = 0.0


class CatalogTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it was last read from its file."""

    name: str
    kind: str
    owner: str = ""
    deputy: str = ""
    label: str = "internal"
    spec: dict[str, Any] = {}  # the task file
    digest: str = ""  # of the task file's canonical JSON
    updated_at: float = 0.0


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A place that a task's documents come from."""

    task: str
    name: str
    path: str
    label: str = ""
    licence: str = ""


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a task's documents."""

    task: str
    version: int  # 1, 2, ... per task
    digest: str  # of the folder in the artifact store
    label: str
    documents: int
    bytes: int
    created_at: float


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a task's examples, split into what is trained on and what is judged by."""

    task: str
    version: int  # 1, 2, ... per task
    train: str  # artifact digests
    gold: str
    rows: int
    label: str
    created_at: float


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage made of what: the cache of the line and the lineage in one."""

    key: str  # hash of stage, version, inputs and parameters
    stage: str
    task: str
    inputs: dict[str, str]  # name -> artifact digest
    outputs: dict[str, str]
    params: Any = None
    seconds: float = 0.0
    finished_at: float = 0.0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One pass of a task through the line."""

    id: str
    task: str
    started_at: float
    status: RunStatus = "running"
    stage: str = ""  # where it is now, or where it ended
    finished_at: float | None = None
    error: str = ""


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """Something kept under an id: a file, a job, an eval, a turn. Its body is the owner's own struct as JSON."""

    kind: str
    id: str
    scope: str  # whose it is: a tenant, or a task
    body: dict[str, Any]
    created_at: float
    revision: int = 1  # rises with every change; see `Objects.update`
