"""What the catalog knows, as frozen structs. Times are seconds since the Unix epoch."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

RunStatus = Literal["running", "done", "failed"]


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation or department that uses the factory."""

    name: str
    created_at: float


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

    def valid_at(self, time: float) -> bool:
        """Return whether the key opens anything at `time`."""
        ends = [end for end in (self.expires_at, self.revoked_at) if end is not None]
        return all(time < end for end in ends)


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
