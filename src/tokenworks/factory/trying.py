"""What a server that has begun is tried with: one request to each release, and one that is worth pasting."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tokenworks.factory.documents import ENCODER
from tokenworks.factory.house import House
from tokenworks.factory.probe import probe
from tokenworks.ledger.verify import verify

SAMPLES: tuple[tuple[str, str, dict[str, Any]], ...] = (  # kind, path, body; the first kind that is released is shown
    ("complete", "/v1/completions", {"prompt": "def ", "max_tokens": 64}),
    ("chat", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    ("classify", "/classify", {"input": "parse a date from a string"}),
    ("embed", "/v1/embeddings", {"input": "hello"}),
)


async def try_out(house: House, url: str, key: str, tasks: list[str]) -> list[str]:
    """Ask each task's release one request at `url` and verify the ledger; return what does not hold."""
    broken = []
    for task in tasks:
        current = house.catalog.releases.current(task)
        if current is None or current.version == 0:
            broken.append(f"task {task}: nothing was released; see: tokenworks report")
            continue
        version = house.catalog.models.get(current.model, current.version)
        broken += await asyncio.to_thread(probe, url, key, task, version.kind, house.ledger_root)
    checked = await asyncio.to_thread(verify, house.ledger_root)
    return broken + [f"ledger: {problem}" for problem in checked.problems]


def sample(house: House) -> tuple[str, str, bytes]:
    """Return (model, path, body) of a request worth pasting: a language model's, where one is released."""
    current = {one.alias: one for one in house.catalog.releases.all_current() if one.version}
    kinds = {alias: house.catalog.models.get(one.model, one.version).kind for alias, one in current.items()}
    for kind, path, body in SAMPLES:
        found = sorted(alias for alias, one in kinds.items() if one == kind)
        if found:
            return found[0], path, msgspec.json.encode({"model": found[0], **body})
    return ENCODER, "/v1/embeddings", msgspec.json.encode({"model": ENCODER, "input": "hello"})
