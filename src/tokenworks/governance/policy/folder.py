"""The policies of a home: read from its folder, in force until a newer set that is sound takes their place."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from tokenworks.core.errors import ConfigError
from tokenworks.governance.policy.engine import LABELS, Policies

log = structlog.get_logger()

Signature = tuple[tuple[str, int, int, int], ...]


def read_folder(folder: Path) -> Policies:
    """Return the built-in policies with those of `folder`, if it exists; raise `ConfigError` naming the file."""
    return Policies({path.name: _text(path) for path in _files(folder)})


class InForce:
    """The set that decides now. A folder that is broken at the start is an error; later, the old set stays in force."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._signature = self._pending = _signature(folder)
        self.policies = Policies() if folder is None else read_folder(folder)
        self.problem = ""  # why the files as they are now are not in force

    def stale(self) -> bool:
        """Return whether files changed since they were last read. Costs a look at the folder, some 20 us."""
        return _signature(self._folder) != self._signature

    def fresh(self) -> Policies | None:
        """Return the set that the files say now, None where it is the one in force or cannot be read."""
        signature = _signature(self._folder)
        try:
            found = Policies() if self._folder is None else read_folder(self._folder)
        except ConfigError as error:
            self.problem = str(error)
            self._signature = signature
            log.error("policies are broken, the old ones stay in force", digest=self.policies.digest, error=str(error))
            return None
        self.problem = ""
        if found.digest == self.policies.digest:
            self._signature = signature
            return None
        self._pending = signature
        return found

    def take(self, policies: Policies) -> None:
        """Put what `fresh` returned in force."""
        self._signature = self._pending
        log.info("policies changed", before=self.policies.digest, now=policies.digest)
        self.policies = policies


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.glob("*.cedar"))
        labels = folder / LABELS
        return [*found, labels] if labels.exists() else found
    except OSError as error:
        raise ConfigError(f"policies in {folder} cannot be listed: {error.strerror}; make it readable") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"policies in {path.name} cannot be read: {error.strerror}; correct that file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"policies in {path.name} are not UTF-8 at byte {error.start}; save them as UTF-8") from None


def _signature(folder: Path | None) -> Signature:
    """Return what tells that a file changed: name, time, length and inode of each."""
    if folder is None:
        return ()
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".cedar") or entry.name == LABELS:
                    stat = entry.stat()
                    found.append((entry.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    except FileNotFoundError:
        return ()
    except OSError:  # not readable, or gone between two looks: `fresh` says what is wrong
        return ((str(folder), -1, -1, -1),)
    return tuple(sorted(found))
