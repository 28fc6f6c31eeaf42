"""What a back end of the artifact store can do, and the streaming copy that every one uses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

CHUNK = 1 << 20


class Blobs(Protocol):
    """Bytes by digest, unverified: whoever reads them compares them with the digest."""

    def put(self, source: BinaryIO) -> tuple[str, int]:
        """Store what `source` still has to give, in constant memory; return its digest and its bytes."""
        ...

    def has(self, digest: str) -> bool:
        """Return whether the bytes are here."""
        ...

    def size(self, digest: str) -> int:
        """Return the number of bytes; raise `NotFoundError`."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Return a local, seekable file; raise `NotFoundError`."""
        ...

    def digests(self) -> Iterator[str]:
        """Yield the digest of everything stored."""
        ...

    def local(self, digest: str) -> Path:
        """Return a local read-only file with the bytes; raise `NotFoundError`."""
        ...

    def place(self, digest: str) -> str:
        """Return where the bytes lie, for people."""
        ...

    def erase(self, digest: str, because: str) -> None:
        """Keep `because` in the place of the bytes, then delete them; done again, it finishes what a kill left."""
        ...

    def erased(self, digest: str) -> str:
        """Return why the bytes were erased, empty where they were not or came back since."""
        ...


def copy_hashed(source: BinaryIO, target: BinaryIO | None) -> tuple[str, int]:
    """Copy the rest of `source` into `target` (None: nowhere); return digest and bytes of what was read."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size


def hash_file(path: Path) -> str:
    """Return the digest of the bytes in the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
