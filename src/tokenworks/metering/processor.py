"""Processor time, as the system counts it."""

from __future__ import annotations

import psutil


def cores() -> int:
    """Return how many processors the system has, whoever may use them."""
    return psutil.cpu_count(logical=True) or 1


def busy_core_s() -> float:
    """Return the processor seconds that were worked on this machine since it was started, by anybody."""
    times = psutil.cpu_times()
    waiting = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted under user and nice already
    return float(sum(times) - waiting - guests - getattr(times, "steal", 0.0))


def process_core_s(pid: int) -> float | None:
    """Return the processor seconds of a process; None where it is no more."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)
