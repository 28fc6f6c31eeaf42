"""Clicks as pairs to learn from: the passage that is meant, and a wrong one that looks right, found by the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tokenworks.line.train._clicks import Clicked
from tokenworks.line.train._encoder_torch import Encoder, embed_rows
from tokenworks.line.train._pairs import HELD_OUT_EVERY, Pair, Pairs
from tokenworks.line.train._tokens import tokenize

if TYPE_CHECKING:
    from torch import Tensor

REPLAY = 2.0  # mined pairs beside each click, so that what the documents taught stays
REPLAY_MIN = 1000
LOOKED_AT = 32  # nearest passages among which a hard negative is looked for
SURE = 0.95  # of the right passage's score: what scores above may be right as well (Moreira 2024, TopK-PercPos)
QUERIES = 512  # scored at once
MAX_TOKENS = 128


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedding model learns from, and what it is judged by: documents that it does not learn from."""

    learn: list[Pair]
    judge: list[Pair]  # mined
    judge_clicks: list[Pair] = []
    rivals: list[Pair] = []  # right passages of the clicks learnt from: what the judged ones must beat


def cheap(pairs: Pairs, clicked: Clicked) -> Material:
    """Return as many pairs as `material` does, with any passage in place of the one that is meant."""
    first = dict(zip(reversed(clicked.owners), reversed(clicked.passages), strict=True))
    texts = [first[number] for number in clicked.documents]
    return _divide(pairs, clicked, texts, texts)


def material(pairs: Pairs, clicked: Clicked, encoder: Encoder, base: Path, *, bf16: bool) -> Material:
    """Return mined pairs and clicks, the clicks with passage and hard negative as `encoder` ranks them now."""
    queries = embed_rows(encoder, tokenize(base, clicked.queries, max_tokens=MAX_TOKENS), bf16=bf16)
    passages = embed_rows(encoder, tokenize(base, clicked.passages, max_tokens=MAX_TOKENS), bf16=bf16)
    right, hard = choose_passages(queries, passages, clicked)
    texts = [clicked.passages[at] for at in right]
    return _divide(pairs, clicked, texts, ["" if at < 0 else clicked.passages[at] for at in hard])


def choose_passages(queries: Tensor, passages: Tensor, clicked: Clicked) -> tuple[list[int], list[int]]:
    """Return for each query the best passage of its document, and the best one that is surely wrong (-1: none).

    A passage of a document that anybody clicked for the same query, or that scores nearly as high, is not surely wrong.
    """
    import torch

    owners = torch.tensor(clicked.owners)
    clicks: dict[str, set[int]] = {}
    for query, number in zip(clicked.queries, clicked.documents, strict=True):
        clicks.setdefault(query.casefold(), set()).add(number)
    right, hard = list[int](), list[int]()
    for start in range(0, len(queries), QUERIES):
        scores = queries[start : start + QUERIES] @ passages.T
        nearest = scores.topk(min(LOOKED_AT, scores.shape[1])).indices
        for row, line in enumerate(scores):
            at = start + row
            own = torch.where(owners == clicked.documents[at], line, torch.tensor(-2.0))
            best = int(own.argmax())
            good = clicks[clicked.queries[at].casefold()]
            limit = SURE * float(line[best])
            wrong = (
                int(one)
                for one in nearest[row]
                if clicked.owners[one] not in good
                and clicked.owners[one] % HELD_OUT_EVERY  # documents that judge are not learnt from, not even so
                and float(line[one]) < limit
            )
            right.append(best)
            hard.append(next(wrong, -1))
    return right, hard


def _divide(pairs: Pairs, clicked: Clicked, texts: list[str], hard: list[str]) -> Material:
    made = [
        Pair(number, query, text, wrong)
        for number, query, text, wrong in zip(clicked.documents, clicked.queries, texts, hard, strict=True)
    ]
    learn = [pair for pair in made if pair.document % HELD_OUT_EVERY]
    judged = [pair for pair in made if pair.document % HELD_OUT_EVERY == 0]
    order = np.random.default_rng(0).permutation(len(judged))  # not the newest alone, where not all are asked
    replay = pairs.learn[: max(REPLAY_MIN, int(REPLAY * len(learn)))]
    rivals = list({pair.positive: pair for pair in learn}.values())
    return Material(
        learn=[*replay, *learn], judge=pairs.judge, judge_clicks=[judged[at] for at in order], rivals=rivals
    )
