"""Documents -> one stream of tokens with separators -> windows in an order that only seed and step decide."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tokenworks.core.corpus import read_parts
from tokenworks.core.stage import Progress
from tokenworks.line.train.causal.tokenizer import END, encode

Tokens = NDArray[np.int32]
_BATCH_BYTES = 1 << 20  # encoded at a time, on all threads


def chosen_texts(folder: Path, *, share: float, seed: int) -> Iterator[str]:
    """Yield the texts of about `share` of the documents, by the hash of their path; at least one if there is one."""
    spare, given = "", False
    for document in read_parts(folder):
        if not document.text:
            continue
        spare = spare or document.text
        digest = hashlib.sha256(f"{seed}:{document.source}:{document.path}".encode()).digest()
        if int.from_bytes(digest[:8]) < share * 2**64:
            given = True
            yield document.text
    if spare and not given:
        yield spare


def stream(tokenizer: Tokenizer, texts: Iterable[str], *, report: Progress) -> Tokens:
    """Return END, document, END, document, END, ... as int32."""
    end = tokenizer.token_to_id(END)
    parts: list[Tokens] = [np.array([end], np.int32)]
    done = 0
    for group in _grouped(texts):
        for ids in encode(tokenizer, group):
            parts.append(np.array([*ids, end], np.int32))
        done += sum(len(text) for text in group)
        report(done, None, unit="characters", note="tokenizing")
    return np.concatenate(parts)


class Windows:
    """Every token of a stream once per epoch, in windows of `context` + 1, shifted and shuffled anew each time."""

    def __init__(self, tokens: Tokens, context: int, batch: int, seed: int) -> None:
        if len(tokens) < 2 * context + 1:
            tokens = np.resize(tokens, 2 * context + 1)  # repeats: a document may be shorter than a window
        self._tokens, self._context, self._batch, self._seed = tokens, context, batch, seed
        self.per_epoch = (len(tokens) - 1) // context - 1  # one is lost to the shift
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def at(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets of a step, [batch, context] each; nothing but `step` is needed to resume."""
        numbers = range(step * self._batch, (step + 1) * self._batch)
        starts = np.array([self._start(number) for number in numbers])
        rows = self._tokens[starts[:, None] + np.arange(self._context + 1)].astype(np.int64)
        return rows[:, :-1], rows[:, 1:]

    def _start(self, number: int) -> int:
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._order = rng.permutation(self.per_epoch) * self._context + int(rng.integers(self._context))
            self._epoch = epoch
        return int(self._order[place])


def held_out_windows(tokens: Tokens, context: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return up to `most` windows spread evenly over the stream, or None where there is not one."""
    count = (len(tokens) - 1) // context
    if count < 1:
        return None
    picked = np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64)) * context
    rows = tokens[picked[:, None] + np.arange(context + 1)].astype(np.int64)
    return rows[:, :-1], rows[:, 1:]


def _grouped(texts: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _BATCH_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
