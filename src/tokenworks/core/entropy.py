"""Random bytes for ids and salts, drawn from the operating system in advance.

`os.urandom` lets go of the interpreter on each call; where another thread waits for it, as the ledger's does, 16 bytes
cost 50 us (docs/decisions/0281-what-a-request-costs.md). API keys are made with `secrets`, from fresh bytes.
"""

from __future__ import annotations

import os
import threading

DRAWN = 8192


class _Store:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bytes = b""
        self.used = 0


_store = _Store()
os.register_at_fork(after_in_child=_store.__init__)  # type: ignore[misc]  # else parent and child would draw alike


def random_bytes(count: int) -> bytes:
    """Return `count` random bytes, at most 1024, fit for cryptography; no byte is ever given twice."""
    assert count <= 1024, "draw large amounts from os.urandom"
    with _store.lock:
        begin = _store.used
        if begin + count > len(_store.bytes):
            _store.bytes, begin = os.urandom(DRAWN), 0
        _store.used = begin + count
        return _store.bytes[begin : begin + count]
