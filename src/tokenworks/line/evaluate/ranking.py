"""Judge an embedding model: embed the documents and the queries, rank by cosine, beside BM25."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.core.corpus import read_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import DataError, EngineError, StoreError
from tokenworks.core.ids import sha256_hex
from tokenworks.core.request import Answerer, Request
from tokenworks.core.stage import Bench, Progress
from tokenworks.line.evaluate.asking import Asked, Reply, ask_all
from tokenworks.line.evaluate.baselines import bm25
from tokenworks.line.evaluate.beating import report
from tokenworks.line.evaluate.gold import Gold, read_rows
from tokenworks.line.evaluate.grade import grader_named
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation, Item

DEPTH = 10
BATCH = 32  # passages in one request
PASSAGE_WORDS, PASSAGE_CHARACTERS = 120, 500  # a passage of a document: never more than the 512 tokens of an encoder
MOST_PASSAGES = 10_000  # of a larger corpus a part is searched: every document that is asked for, others by hash
Vectors = npt.NDArray[np.float32]


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """Passages to find, each with the document that it is from."""

    owners: list[str]  # document ids
    texts: list[str]
    notes: tuple[str, ...] = ()


def read_shelf(bench: Bench, digest: str, gold: Sequence[Gold]) -> Shelf:
    """Return what is searched: a JSONL blob of {"id", "text"}, or a corpus folder, whose documents are cut to passages.

    A document of a corpus is named "source/path", as search returns it.
    """
    try:
        folder = bench.artifacts.folder(digest)
    except StoreError:  # no folder: a blob of rows
        return read_documents(bench.artifacts.get_bytes(digest))
    return shelve(read_parts(folder), gold)


def shelve(documents: Iterable[Document], gold: Sequence[Gold]) -> Shelf:
    """Return the passages of `documents`, at most `MOST_PASSAGES` besides those that `gold` asks for."""
    asked = {str(name) for want in gold for name in want.row["relevant"]}
    cut = [(f"{one.source}/{one.path}", list(_passages(one))) for one in documents]
    cut.sort(key=lambda each: (each[0] not in asked, sha256_hex(each[0].encode("utf-8", "surrogatepass"))))
    owners, texts, left = list[str](), list[str](), 0
    for name, passages in cut:
        if name not in asked and len(texts) + len(passages) > MOST_PASSAGES:
            left += 1
            continue
        owners += [name] * len(passages)
        texts += passages
    if not texts:
        raise DataError("documents: there are none to find")
    missing = len(asked - {name for name, _ in cut})
    notes = []
    if left:
        notes.append(f"{left} of {len(cut)} documents were left out of the search, chosen by hash: recall is flattered")
    if missing:
        notes.append(f"{missing} documents that are asked for are not in the corpus: nothing can find them")
    return Shelf(owners=owners, texts=texts, notes=tuple(notes))


def _passages(document: Document) -> Iterator[str]:
    """Yield the title and each stretch of the text, none above `PASSAGE_CHARACTERS`."""
    about = document.title[: PASSAGE_CHARACTERS // 4]
    stretch: list[str] = []
    length = len(about)
    for word in document.text.split():
        word = word[: PASSAGE_CHARACTERS // 2]
        if stretch and (len(stretch) >= PASSAGE_WORDS or length + len(word) + 1 > PASSAGE_CHARACTERS):
            yield " ".join([about, *stretch]).strip()
            stretch, length = [], len(about)
        stretch.append(word)
        length += len(word) + 1
    if stretch or about:
        yield " ".join([about, *stretch]).strip()


def read_documents(data: bytes) -> Shelf:
    """Return the documents of the JSONL `data`, a passage each; raise `DataError` naming the line."""
    ids, texts = [], []
    for where, row in read_rows(data, "documents"):
        if not isinstance(row.get("id"), str) or not isinstance(row.get("text"), str):
            raise DataError(f'{where}: each document needs an "id" and a "text"')
        ids.append(row["id"])
        texts.append(row["text"])
    if not ids:
        raise DataError("documents: there are none to find")
    return Shelf(owners=ids, texts=texts)


def query_requests(gold: Sequence[Gold], model: str) -> list[Request]:
    """Return an embeddings request for each query."""
    return [_embedding([want.text], model) for want in gold]


def document_vectors(
    texts: Sequence[str], model: str, answer: Answerer, *, concurrency: int, progress: Progress
) -> Vectors:
    """Return the vectors of all documents; a document that cannot be embedded ends the evaluation."""
    requests = [_embedding(texts[start : start + BATCH], model) for start in range(0, len(texts), BATCH)]
    asked = ask_all(answer, requests, concurrency=concurrency, progress=progress, note="documents")
    failed = next((reply.error for reply in asked.replies if reply.error), "")
    if failed:
        raise EngineError(f"a batch of documents was not embedded ({failed}): without all documents no rank is true")
    return np.concatenate([_vectors(reply) for reply in asked.replies])


def judge_ranks(
    gold: Sequence[Gold], asked: Asked, documents: Vectors, ids: Sequence[str], params: EvaluateParams
) -> list[Item]:
    """Return the scored queries."""
    grader = grader_named(params.metric)
    items = []
    for want, reply in zip(gold, asked.replies, strict=True):
        error, found = reply.error, list[str]()
        if not error:
            scores = documents @ _vectors(reply)[0]
            found = _first([ids[number] for number in np.argsort(-scores, kind="stable")])
        items.append(
            Item(
                id=want.id,
                score=grader.grade(want.row, found).score,
                cluster=want.cluster,
                latency_s=reply.latency_s,
                ttft_s=reply.ttft_s,
                error=error,
            )
        )
    return items


def rank_baselines(
    gold: Sequence[Gold], ids: Sequence[str], texts: Sequence[str], params: EvaluateParams
) -> dict[str, Evaluation]:
    """Return BM25 on the same queries."""
    longest = max(Counter(ids).values())  # so many passages of one document may stand before the next
    ranked = bm25.rank(texts, [want.text for want in gold], depth=DEPTH * longest)
    return {"bm25": report("bm25", gold, [_first([ids[number] for number in row]) for row in ranked], params)}


def _first(owners: Iterable[str]) -> list[str]:
    """Return the first `DEPTH` distinct documents, each at the place of its best passage."""
    return list(islice(dict.fromkeys(owners), DEPTH))


def _embedding(texts: Sequence[str], model: str) -> Request:
    return Request(endpoint="embeddings", body={"model": model, "input": list(texts)})


def _vectors(reply: Reply) -> Vectors:
    rows: list[dict[str, Any]] = sorted(reply.body["data"], key=lambda row: int(row["index"]))
    vectors = np.array([row["embedding"] for row in rows], np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
