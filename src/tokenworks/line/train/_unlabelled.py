"""Requests without a right answer: the head guesses their classes and learns from the guesses, if that helps.

Self-training (Yarowsky 1995; Scudder 1965). Whether it helps is measured on labelled rows that neither the guessing
nor the learning head has seen; if it does not, the requests are not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tokenworks.core.errors import DataError
from tokenworks.line.train._head import FOLDS, Choice, Extra, calibrate, fit_head, judge, sampled

if TYPE_CHECKING:
    from torch import Tensor

MOST = 8000  # requests guessed at, picked evenly by time
CV_CELLS = 3_000_000  # rows (with the guessed) times classes: above, cross-validating the guesses is too dear
WEIGHT = 0.5  # of a guess, times the probability that the head gives it


class Request(msgspec.Struct, frozen=True):
    """A row of the input; what was answered then is not believed, the head guesses anew."""

    text: str = ""


class Guessed(msgspec.Struct, frozen=True, kw_only=True):
    """Whether guesses help, and with what temperature the head that learnt from them is calibrated."""

    rows: int
    used: int
    accuracy_without: float  # out of fold
    accuracy_with: float
    nll_without: float  # nats
    nll_with: float
    temperature: float

    @property
    def helps(self) -> bool:
        """Return whether rows that no head had seen were judged better with the guesses, in both measures."""
        return self.used > 0


def read_unlabelled(lines: Iterable[bytes], known: set[str]) -> list[str]:
    """Return distinct texts of JSON `lines` that are not `known` (as labelled); raise `DataError` for a broken row."""
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            text = msgspec.json.decode(line, type=Request).text
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise DataError(f'unlabelled line {number}: {error}; a row is {{"text": "..."}}') from error
        key = key_of(text)
        if key and key not in known:
            texts.setdefault(key, text)
    kept = list(texts.values())
    return kept[:: -(-len(kept) // MOST)] if kept else []


def spread(some: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` of `some`, picked evenly: requests come with the least sure ones first."""
    picks = np.linspace(0, len(some) - 1, most).astype(np.int64) if most < len(some) else range(len(some))
    return [some[at] for at in picks]


def key_of(text: str) -> str:
    """Return what equal texts share."""
    return " ".join(text.split()).casefold()


def guesses(embeddings: Tensor, head: tuple[Tensor, Tensor], temperature: float) -> Extra:
    """Return the likeliest class of each row and how much it counts."""
    probabilities = ((embeddings @ head[0].T + head[1]) / temperature).softmax(1)
    sure, targets = probabilities.max(1)
    return Extra(embeddings=embeddings, targets=targets, weights=WEIGHT * sure)


def try_guesses(
    embeddings: Tensor, targets: Tensor, weights: Tensor, asked: Tensor, classes: int, choice: Choice, seed: int
) -> Guessed:
    """Return what cross-validation says of learning from guesses at `asked` [requests, dim]."""
    import torch

    rows, folds = sampled(targets, seed)
    without, learnt = torch.zeros(len(rows), classes), torch.zeros(len(rows), classes)
    if (len(rows) + len(asked)) * classes > CV_CELLS:
        asked = asked[:: -(-len(asked) * classes // max(CV_CELLS - len(rows) * classes, CV_CELLS // 10))]
    for fold in range(FOLDS):
        learn, ask = rows[folds != fold], folds == fold
        about = embeddings[learn], targets[learn], classes, choice.strength
        head = fit_head(*about, noise=choice.noise, weights=weights[learn])
        extra = guesses(asked, head, choice.temperature)
        again = fit_head(*about, noise=choice.noise, weights=weights[learn], extra=extra)
        without[ask] = embeddings[rows[ask]] @ head[0].T + head[1]
        learnt[ask] = embeddings[rows[ask]] @ again[0].T + again[1]
    truth = targets[rows]
    temperature = calibrate(learnt, truth, choice.noise)
    accuracy, nll = judge(without / calibrate(without, truth, choice.noise), truth, choice.noise)
    accuracy_with, nll_with = judge(learnt / temperature, truth, choice.noise)
    helps = accuracy_with > accuracy and nll_with <= nll
    return Guessed(
        rows=len(asked),
        used=len(asked) if helps else 0,
        accuracy_without=accuracy,
        accuracy_with=accuracy_with,
        nll_without=nll,
        nll_with=nll_with,
        temperature=temperature,
    )
