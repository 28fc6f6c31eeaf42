"""The garbage collector of a process that serves: what was loaded at the start is not looked at on requests."""

from __future__ import annotations

import gc

YOUNG = 20_000  # objects made since the last look; CPython's own 700 are looked through every few requests


def calm_collector() -> None:
    """Set aside all objects there are now, and look at newer ones less often. Call it when a server is ready.

    Requests leave no cycles behind them, so that a collection finds next to nothing; cycles that parts make are still
    collected. Where that was measured: docs/decisions/0281-what-a-request-costs.md.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
