"""A hybrid index of documents: full text at once, vectors as they come, one SQLite file, safe against a kill.

The embedding function is passed in. No hit above the clearance of the asker is ever returned, or even ranked.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenworks.core.document import Document
from tokenworks.core.errors import DataError
from tokenworks.core.files import locked
from tokenworks.core.label import Label
from tokenworks.core.stage import Progress, silent
from tokenworks.retrieval.ranking import fuse, match_expression
from tokenworks.retrieval.shelf import Shelf, Update, Vectors

Floats = NDArray[np.float32]
Embed = Callable[[list[str]], Awaitable[Floats]]  # texts -> [texts, dimensions] unit vectors
CANDIDATES = 100  # passages that each ranking hands to the fusion
WRITER_LOCK = "writer.lock"


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """The best passage of one document."""

    path: str
    source: str
    title: str
    heading: str
    text: str
    score: float
    label: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What the index holds."""

    documents: int
    passages: int
    vectors: int


class Index:
    """Search and keep up to date. Searching goes on while another thread or process writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader = Shelf(folder)
        self._lock = threading.Lock()  # SQLite connection and cached vectors: one thread at a time
        self._vectors: Vectors | None = None

    @staticmethod
    def open(folder: Path) -> Index:
        """Return the index in `folder`, made empty where there is none; raise `IntegrityError` for a damaged file."""
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / WRITER_LOCK):
            Shelf(folder).create()
        return Index(folder)

    @property
    def corpus(self) -> str:
        """Return the digest of the corpus that the index shows, empty before the first update."""
        with self._lock:
            return self._reader.note("corpus")

    @property
    def model(self) -> str:
        """Return the model that made the vectors."""
        with self._lock:
            return self._reader.note("model")

    def counts(self) -> Counts:
        """Return how many documents, passages and vectors there are."""
        with self._lock:
            documents, passages, vectors = self._reader.counts()
        return Counts(documents=documents, passages=passages, vectors=vectors)

    def update(self, documents: Iterable[Document], *, corpus: str) -> Update:
        """Make the index show exactly `documents`, in one step; nothing is done when it shows `corpus` already.

        Unchanged documents are not touched, and an unchanged passage of a changed document keeps its vector.
        """
        with locked(self._folder / WRITER_LOCK):
            writer = Shelf(self._folder)
            try:
                return writer.replace_all(documents, corpus)
            finally:
                writer.close()

    def erase(self, source: str, path: str) -> int:
        """Take the document out at once, so that no byte of it stays; return how many documents that were.

        It comes back with the next update whose documents have it. Searching goes on meanwhile.
        """
        with locked(self._folder / WRITER_LOCK):
            writer = Shelf(self._folder)
            try:
                return writer.erase(source, path)
            finally:
                writer.close()

    async def fill(self, embed: Embed, *, model: str, batch: int = 64, progress: Progress = silent) -> int:
        """Embed the passages that have no vector of `model` yet; return how many there were.

        Each batch is kept at once, so a killed run goes on where it was. Another `model` starts from nothing.
        """
        await asyncio.to_thread(self._write, partial(Shelf.use_model, model=model))
        counts = await asyncio.to_thread(self.counts)
        done = 0
        while texts := await asyncio.to_thread(self._without_vector, batch):
            vectors = np.asarray(await embed(list(texts.values())), np.float32)
            _check(vectors, len(texts), model)
            rows = list(zip(texts, vectors, strict=True))
            await asyncio.to_thread(self._write, partial(Shelf.put_vectors, rows=rows, model=model))
            done += len(texts)
            progress(counts.vectors + done, counts.passages, unit="passages")
        return done

    async def search(self, query: str, k: int = 10, *, clearance: Label, embed: Embed | None = None) -> list[Hit]:
        """Return the `k` best documents up to `clearance`, best first, each with its best passage.

        Text and vectors each rank the passages and the ranks are joined; without `embed`, text alone.
        """
        vector = None
        if embed is not None and query.strip():
            vector = np.asarray(await embed([query]), np.float32)[0]
        return await asyncio.to_thread(self._search, query, k, clearance, vector)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._reader.close()

    def _search(self, query: str, k: int, clearance: Label, vector: Floats | None) -> list[Hit]:
        with self._lock:
            rankings = []
            if expression := match_expression(query):
                rankings.append(self._reader.text_ranking(expression, clearance, max(CANDIDATES, 4 * k)))
            if vector is not None and (self._filled() or not any(rankings)):
                rankings.append(self._nearest(vector, clearance, max(CANDIDATES, 4 * k)))
            return self._hits(fuse(rankings), k, clearance)

    def _filled(self) -> bool:
        """Return whether every passage has its vector: ranked half filled, those that have one would always win."""
        _, passages, vectors = self._reader.counts()
        return vectors == passages

    def _nearest(self, vector: Floats, clearance: Label, most: int) -> list[int]:
        """Return the passages closest to `vector`, best first."""
        self._vectors = vectors = self._reader.vectors(self._vectors)
        if vectors.matrix.shape[0] == 0:
            return []
        if vectors.matrix.shape[1] != len(vector):
            raise DataError(
                f"the query's vector has {len(vector)} dimensions, the index {vectors.matrix.shape[1]}: refill"
            )
        scores = np.where(vectors.labels <= int(clearance), vectors.matrix @ vector, -np.inf)
        best = np.argpartition(-scores, min(most, len(scores)) - 1)[:most]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [int(vectors.ids[at]) for at in best if np.isfinite(scores[at])]

    def _hits(self, ranked: list[tuple[int, float]], k: int, clearance: Label) -> list[Hit]:
        hits: list[Hit] = []
        seen: set[int] = set()
        for passage, score in ranked:
            if len(hits) == k:
                break
            row = self._reader.passage(passage, clearance)
            if row is None or row.document in seen:
                continue
            seen.add(row.document)
            label = str(Label(row.label))
            hits.append(
                Hit(
                    path=row.path,
                    source=row.source,
                    title=row.title,
                    heading=row.heading,
                    text=row.text,
                    score=score,
                    label=label,
                )
            )
        return hits

    def _without_vector(self, most: int) -> dict[int, str]:
        with self._lock:
            return self._reader.without_vector(most)

    def _write(self, work: Callable[[Shelf], None]) -> None:
        with locked(self._folder / WRITER_LOCK):
            writer = Shelf(self._folder)
            try:
                work(writer)
            finally:
                writer.close()


def _check(vectors: Floats, expected: int, model: str) -> None:
    if vectors.ndim != 2 or len(vectors) != expected or not np.isfinite(vectors).all():
        raise DataError(f"{model} gave vectors of shape {vectors.shape} for {expected} texts, or not finite ones")
