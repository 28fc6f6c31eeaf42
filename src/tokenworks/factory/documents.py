"""Search in the documents of a running server. Embeds through the same path as everybody: it is told how to ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from tokenworks.core.errors import EngineError, NotFoundError
from tokenworks.core.request import Answer, Request
from tokenworks.factory.corpora import show
from tokenworks.factory.house import House
from tokenworks.gateway.search import Found, SearchCall
from tokenworks.retrieval.index import Index

ENCODER = "minilm"  # the released base encoder that search embeds with
STORE = "documents"  # the one vector store there is
Ask = Callable[[Request], Awaitable[Answer]]


class Documents:
    """The index over the newest corpora of `house`; nothing is found before it was opened."""

    def __init__(self, house: House, ask: Ask) -> None:
        self._house = house
        self._ask = ask
        self._index: Index | None = None
        self._filling = asyncio.Lock()

    async def open(self) -> None:
        """Open the index as the last server left it."""
        self._index = await asyncio.to_thread(Index.open, self._house.home / "index")

    def close(self) -> None:
        """Let go of the index."""
        if self._index is not None:
            self._index.close()

    async def take_corpora(self) -> None:
        """Show the newest corpora of all tasks."""
        if self._index is not None:
            await asyncio.to_thread(show, self._house, self._index)

    async def fill(self, batch: int = 64, rest: float = 0.0) -> None:
        """Embed what has no vector yet; after each batch rest for so many times the time that it took."""
        if self._index is None:
            return

        async def embed(texts: list[str]) -> NDArray[np.float32]:
            began = time.monotonic()
            vectors = await self._embed(texts, "batch")
            await asyncio.sleep(rest * (time.monotonic() - began))
            return vectors

        current = self._house.catalog.releases.current(ENCODER)
        async with self._filling:  # two at once would embed the same passages
            await self._index.fill(embed, model=f"{ENCODER}@{current.version}" if current else ENCODER, batch=batch)

    async def search(self, call: SearchCall) -> list[Found]:
        """Return the passages that answer a query, as far as the caller may see them; raise `NotFoundError`."""
        if call.store != STORE or self._index is None:
            raise NotFoundError(f"vector store {call.store!r} does not exist; there is: {STORE}")
        hits = await self._index.search(call.query, call.k, clearance=call.clearance, embed=self._embed)
        return [
            Found(
                file_id=f"{hit.source}/{hit.path}",
                filename=hit.path,
                text=hit.text,
                score=hit.score,
                label=str(hit.label),
                attributes={"title": hit.title, "source": hit.source},
            )
            for hit in hits
        ]

    async def _embed(self, texts: list[str], priority: str = "interactive") -> NDArray[np.float32]:
        """Return unit vectors."""
        body = {"model": ENCODER, "input": texts}
        answer = await self._ask(Request(endpoint="embeddings", body=body, priority=priority))
        if not answer.ok:
            raise EngineError(f"embedding {len(texts)} passages failed with status {answer.status}: {answer.body}")
        return np.array([row["embedding"] for row in answer.body["data"]], dtype=np.float32)
