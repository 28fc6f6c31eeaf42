"""A file that grows by a byte whenever access changes: every process of a home sees it without asking the catalog."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

LOOK_S = 0.01  # how long a process may go on without looking
MOMENT_S = 0.005  # how long whoever was told who holds a credential may go on without asking
log = structlog.get_logger()


class Stamp:
    """The file's size is the generation: no clock is too coarse for it, and no change is missed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def generation(self) -> int:
        """Return a number that rises with every change; 0 before the first."""
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def bump(self) -> None:
        """Tell every process of this home; when this returns, each will look before it lets anybody in."""
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(b".")
        except OSError as error:  # the change stands; others see it when they next read the catalog
            log.warning("access changed, and other processes learn of it a second late", error=str(error))
        time.sleep(LOOK_S + MOMENT_S)


def unchanging() -> int:
    """Return the generation where nobody else changes anything."""
    return 0
