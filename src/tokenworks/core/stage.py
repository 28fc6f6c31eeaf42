"""What a stage of the line is: a plain function from artifacts and parameters to artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol


class Progress(Protocol):
    """How a stage says how far it is. Called often; must be cheap."""

    def __call__(self, done: float, total: float | None = None, *, unit: str = "", note: str = "") -> None:
        """Report `done` of `total` (None when unknown) in `unit`, with a short remark."""
        ...


def silent(done: float, total: float | None = None, *, unit: str = "", note: str = "") -> None:
    """A progress report that nobody hears."""


class Artifacts(Protocol):
    """Bytes by content hash, as a stage sees them. A digest is 64 hexadecimal characters of SHA-256."""

    def put_bytes(self, data: bytes) -> str:
        """Store `data`; return its digest."""
        ...

    def put_file(self, path: Path) -> str:
        """Store the bytes of the file; return their digest."""
        ...

    def put_folder(self, folder: Path) -> str:
        """Store every regular file below `folder`; return the digest of the manifest that lists them."""
        ...

    def get_bytes(self, digest: str) -> bytes:
        """Return the bytes, verified against `digest`."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Return the verified bytes as a file opened for reading."""
        ...

    def folder(self, digest: str) -> Path:
        """Return a verified local read-only folder with the files of the manifest `digest`."""
        ...


@dataclass(frozen=True)
class Bench:
    """What a stage is given besides its inputs: where to work, and how to report."""

    artifacts: Artifacts
    scratch: Path  # private to this stage identity and kept across a kill: checkpoints live here
    cache: Path  # shared by every run of the stage; keyed by content; may be dropped at any time
    progress: Progress = silent
    threads: int = 2


Outputs = Mapping[str, str]  # name -> artifact digest


@dataclass(frozen=True)
class Stage:
    """A named step. `run(inputs, params, bench)` may be killed at any point and called again with the same scratch."""

    name: str
    version: str  # of the code: a new one makes old results unknown
    run: Callable[[Mapping[str, str], Any, Bench], Outputs]
