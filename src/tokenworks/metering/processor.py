"""Processor time, as the system counts it."""

from __future__ import annotations

import psutil

WORKED = ("user", "nice", "system", "irq", "softirq")  # guests are in `user` and `nice`; a stolen second was not worked


def cores() -> int:
    """Return how many processors the system has, whoever may use them."""
    return psutil.cpu_count(logical=True) or 1


def busy_core_s() -> float:
    """Return the processor seconds that were worked on this machine since it was started, by anybody.

    It never falls: each of its terms grows, which what is left of all time, less the idle, does not in floating point.
    """
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in WORKED))


def process_core_s(pid: int) -> float | None:
    """Return the processor seconds of a process; None where it is no more."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)
