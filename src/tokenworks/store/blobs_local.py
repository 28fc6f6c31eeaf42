"""Blobs in a local folder: `ab/cd/abcd...`, each written beside, synced, and moved into place in one step."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tokenworks.core.errors import ErasedError, NotFoundError, StoreError
from tokenworks.core.files import sync_folder, write_atomic
from tokenworks.store.blobs import copy_hashed

STALE_S = 86_400.0  # a partial file that nobody has touched for a day was left by a killed process


class LocalBlobs:
    """A folder of read-only files named by their SHA-256."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._partial = root / "partial"
        with _explained(root):
            self._partial.mkdir(parents=True, exist_ok=True)
            self._sweep()

    def put(self, source: BinaryIO) -> tuple[str, int]:
        """Store what `source` still has to give; on any error nothing of it is left."""
        with _explained(self.root):
            handle, name = tempfile.mkstemp(dir=self._partial)
            try:
                with os.fdopen(handle, "wb") as file:
                    digest, size = copy_hashed(source, file)
                    if self.has(digest):
                        return digest, size
                    file.flush()
                    os.fchmod(file.fileno(), 0o444)
                    os.fsync(file.fileno())
                self._place(Path(name), digest)
                return digest, size
            finally:
                Path(name).unlink(missing_ok=True)

    def _place(self, partial: Path, digest: str) -> None:
        target = self._path(digest)
        new = not target.parent.is_dir()
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)
        sync_folder(target.parent)
        if new:  # the names of new parents must survive a power cut as well
            sync_folder(target.parent.parent)
            sync_folder(self.root)

    def has(self, digest: str) -> bool:
        """Return whether the bytes are here."""
        return self._path(digest).is_file()

    def size(self, digest: str) -> int:
        """Return the number of bytes; raise `NotFoundError`."""
        return self.local(digest).stat().st_size

    def open(self, digest: str) -> BinaryIO:
        """Return the file, unverified; raise `NotFoundError`."""
        return self.local(digest).open("rb")

    def digests(self) -> Iterator[str]:
        """Yield the digest of everything stored."""
        return (path.name for path in sorted(self.root.glob("??/??/*")))

    def local(self, digest: str) -> Path:
        """Return the file itself; raise `NotFoundError`."""
        path = self._path(digest)
        if not path.is_file():
            if because := self.erased(digest):
                raise ErasedError(f"artifact {digest} was erased on request ({because}); make what needs it anew")
            raise NotFoundError(f"artifact {digest} is not in {self.root}; run the stage that makes it again")
        return path

    def place(self, digest: str) -> str:
        """Return the path, for people."""
        return str(self._path(digest))

    def erase(self, digest: str, because: str) -> None:
        """Keep `because`, then delete the file."""
        with _explained(self.root):
            write_atomic(self._tombstone(digest), because.encode())
            self._path(digest).unlink(missing_ok=True)

    def erased(self, digest: str) -> str:
        """Return why the bytes were erased, empty where they were not or came back since."""
        if self.has(digest) or not self._tombstone(digest).exists():
            return ""
        return self._tombstone(digest).read_text()

    def drop(self, digest: str) -> None:
        """Forget the bytes: for a cache that found them damaged."""
        self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest[2:4] / digest

    def _tombstone(self, digest: str) -> Path:
        return self.root / "erased" / digest

    def _sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for path in self._partial.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process may sweep too
                if time.time() - path.stat().st_mtime > STALE_S:
                    path.unlink()


@contextlib.contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turn what the operating system says into what an operator can do."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"artifact store {root}: {error.strerror or error}; nothing was left half-written. "
            "Free some space or mend the permissions there, or point store.artifacts elsewhere"
        ) from error
