"""A mapped file that a process shares with the meter: locked as long as that process lives, whatever it says."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

from tokenworks.core.ids import new_id


class Mapped:
    """One of those files, open, `size` bytes of it."""

    def __init__(self, path: Path, file: int, size: int) -> None:
        self.path = path
        self._file = file
        self._map = mmap.mmap(file, size)

    @property
    def left(self) -> bool:
        """Whether its process has ended."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return True

    def close(self) -> None:
        """Let go of it; that tells others that its process has ended."""
        self._map.close()
        os.close(self._file)


def create(folder: Path, kind: str, suffix: str, size: int) -> tuple[Path, int]:
    """Return path and handle of a new file of this process: empty, locked, with a name that ends in `suffix`."""
    folder.mkdir(parents=True, exist_ok=True)
    name = new_id(kind)
    path, unready = folder / f"{name}{suffix}", folder / name
    file = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)  # before it has the name by which the meter looks for it
    os.posix_fallocate(file, 0, size)  # a page without room would end the process when it is written to (SIGBUS)
    unready.rename(path)
    return path, file
