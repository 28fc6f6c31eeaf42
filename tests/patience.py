"""Waiting for what comes in its own time: tests fix no time, they are patient."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], timeout_s: float = 240.0, what: str = "it") -> T:
    """Return what `condition` gives once it gives something; fail after `timeout_s`, naming `what` never came."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} never came to be"
        time.sleep(0.02)
    return found
