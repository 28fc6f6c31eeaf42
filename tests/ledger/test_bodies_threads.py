"""Many threads put texts at once: a compressor serves one thread at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tokenworks.ledger.bodies import Bodies


def test_texts_put_from_many_threads_at_once_are_all_kept(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies, ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: bodies.put(f"req-{n}", b"prompt" * (n % 97), b"answer" * n), range(500)))
        assert all(bodies.get(f"req-{n}") == (b"prompt" * (n % 97), b"answer" * n) for n in range(0, 500, 7))
