"""Judge an embedding model: embed the documents and the queries, rank by cosine, beside BM25."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import DataError, EngineError
from tokenworks.core.request import Answerer, Request
from tokenworks.core.stage import Progress
from tokenworks.line.evaluate.asking import Asked, Reply, ask_all
from tokenworks.line.evaluate.baselines import bm25
from tokenworks.line.evaluate.beating import report
from tokenworks.line.evaluate.gold import Gold, read_rows
from tokenworks.line.evaluate.grade import grader_named
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation, Item

DEPTH = 10
BATCH = 32  # documents in one request
Vectors = npt.NDArray[np.float32]


def read_documents(data: bytes) -> tuple[list[str], list[str]]:
    """Return (ids, texts) of the JSONL `data`; raise `DataError` naming the line."""
    ids, texts = [], []
    for where, row in read_rows(data, "documents"):
        if not isinstance(row.get("id"), str) or not isinstance(row.get("text"), str):
            raise DataError(f'{where}: each document needs an "id" and a "text"')
        ids.append(row["id"])
        texts.append(row["text"])
    if not ids:
        raise DataError("documents: there are none to find")
    return ids, texts


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
            found = [ids[number] for number in np.argsort(-scores, kind="stable")[:DEPTH]]
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
    ranked = bm25.rank(texts, [want.text for want in gold], depth=DEPTH)
    return {"bm25": report("bm25", gold, [[ids[number] for number in row] for row in ranked], params)}


def _embedding(texts: Sequence[str], model: str) -> Request:
    return Request(endpoint="embeddings", body={"model": model, "input": list(texts)})


def _vectors(reply: Reply) -> Vectors:
    rows: list[dict[str, Any]] = sorted(reply.body["data"], key=lambda row: int(row["index"]))
    vectors = np.array([row["embedding"] for row in rows], np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
