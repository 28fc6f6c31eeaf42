"""A server that a benchmark asks: `tokenworks serve` in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx


@contextmanager
def serving(words: Sequence[str]) -> Iterator[httpx.AsyncClient]:
    """Serve with the command `words`, its home included, while inside; give a client with the home's key."""
    command = [*words, "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    url = key = ""
    for line in process.stdout:
        url = line.split("answers at ")[1].split()[0] if "answers at " in line else url
        key = line.split()[1] if line.strip().startswith("key ") else key
        if url and key:
            break
    try:
        yield httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=120)
    finally:
        process.terminate()
        process.wait()
