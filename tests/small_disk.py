"""A small disk at a folder of a test, for what happens once it is full. Whoever sees it takes it along when killed."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

CLONE_NEWNS = 0x00020000  # <linux/sched.h>; `os.unshare` comes with Python 3.12


def mounted(folder: Path, size: str) -> bool:
    """Put a disk of `size` ("12m") at `folder`; return False where that is not allowed. `unmount` ends it.

    Only this process sees it, and what it starts from now on: for everybody else the folder is an empty one, that can
    be removed, and no mount is left behind when they end, however they end (mount_namespaces(7)).
    """
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        return False
    alone = ["mount", "--make-rprivate", "/"]
    disk = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tokenworks-tests", str(folder)]
    return all(subprocess.run(words, capture_output=True, check=False).returncode == 0 for words in (alone, disk))


def unmount(folder: Path) -> None:
    """End the disk at `folder`, whoever still has a file open there."""
    subprocess.run(["umount", "-l", str(folder)], check=True)
