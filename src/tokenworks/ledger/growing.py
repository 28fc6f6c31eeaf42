"""The file of texts that a process adds to. Its name says under which label they are; another follows it daily."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tokenworks.core.ids import new_id
from tokenworks.ledger.shelf import SUFFIX


class Growing:
    """One file, locked for as long as it grows: that tells others that it does."""

    def __init__(self, root: Path, label: str) -> None:
        self.path = root / f"{new_id('b')}{'.' + label if label else ''}{SUFFIX}"
        self.size = 0
        self._begun_s = time.monotonic()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def is_over(self, more: int, file_bytes: int, file_s: float) -> bool:
        """Return whether `more` bytes belong into another file."""
        return self.size + more > file_bytes or time.monotonic() - self._begun_s > file_s

    def write(self, data: bytes) -> None:
        """Add `data` whole, or nothing of it."""
        try:
            written = os.write(self._file, data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += written

    def sync(self) -> None:
        """Make it durable."""
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def label_of(path: Path) -> str:
    """Return under which label the texts of a file are; empty for one from before labels were told apart."""
    return path.name.removesuffix(SUFFIX).partition(".")[2]
