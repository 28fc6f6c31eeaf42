"""Where the answers of a batch are written until it ends: two files to which whole lines are added."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from tokenworks.gateway.platform.lines import Written, read_written

OUTPUT, ERRORS = "output.jsonl", "errors.jsonl"


class Sheet:
    """The files of one batch in `folder`. Used by one process; a line that a kill cut off is dropped when reopened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {name: (folder / name).open("a+b") for name in (OUTPUT, ERRORS)}

    def written(self) -> list[tuple[str, Written]]:
        """Return what stands here already, with the name of the file."""
        return [(name, one) for name in self._files for one in self._read(name)]

    def add(self, name: str, lines: list[bytes]) -> None:
        """Add lines to a file; they are on disk when this returns."""
        file = self._files[name]
        file.write(b"".join(lines))
        file.flush()
        os.fdatasync(file.fileno())

    def path(self, name: str) -> Path | None:
        """Return the file, None where nothing stands in it."""
        path = self.folder / name
        return path if path.exists() and path.stat().st_size else None

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def remove(self) -> None:
        """Delete the files: they have become artifacts."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> list[Written]:
        file = self._files[name]
        file.seek(0)
        found: list[Written] = []
        whole = 0
        for line in file:
            try:
                found.append(read_written(line))
            except msgspec.DecodeError:
                break
            if not line.endswith(b"\n"):
                found.pop()
                break
            whole += len(line)
        file.truncate(whole)
        return found
