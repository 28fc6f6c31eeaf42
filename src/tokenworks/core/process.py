"""Processes that do not outlive the one that wanted them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


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

    SCHED_IDLE where the kernel has it (sched(7)): a waking engine takes the core at once, which niceness alone does
    not promise. Elsewhere the lowest niceness.
    """
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
