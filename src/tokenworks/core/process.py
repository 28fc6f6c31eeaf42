"""Processes that do not outlive the one that wanted them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_AUTOGROUP = Path("/proc/self/autogroup")


def die_with(parent: int, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process with `by` when process `parent` ends, however it ends. Linux only.

    Ends at once when `parent` is gone already: between fork and this call nobody would have told us.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os.kill(os.getpid(), by)


def yield_to_traffic() -> None:
    """Give this process, and all that it starts, only the time that nobody else wants.

    SCHED_IDLE where the kernel has it, else the lowest niceness; disk access follows from it (ioprio_set(2)). Both
    rank tasks within a scheduling group only, and Linux makes each session such a group ("autogroup", sched(7)): so
    the process leads a session of its own, where it may, and that group gets the lowest rank too.
    """
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(PermissionError):  # it leads a process group already
        os.setsid()
    if os.getsid(0) == os.getpid() and _AUTOGROUP.exists():  # else the group is that of others too
        _rank_group_last()


def _rank_group_last() -> None:
    """Give the autogroup the lowest niceness; the kernel lets an ordinary user do so ten times a second."""
    for _ in range(20):
        try:
            _AUTOGROUP.write_text("19")
        except BlockingIOError:
            time.sleep(0.05)
        except OSError as error:  # e.g. /proc is read-only in a container: a rank within the group is better than none
            print(f"{_AUTOGROUP}: {error.strerror}; this session yields to others less than it could", file=sys.stderr)
            return
        else:
            return


def yield_as_parent() -> None:
    """Yield to traffic if the process that started this one does: a new session begins in a group of full rank."""
    if hasattr(os, "SCHED_IDLE") and os.sched_getscheduler(0) == os.SCHED_IDLE:
        yield_to_traffic()
