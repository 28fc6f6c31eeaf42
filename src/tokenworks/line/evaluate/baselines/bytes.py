"""Baselines for text in bits per document: zstd -19 with the training text at hand, and a byte n-gram model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from tokenworks.core.corpus import read_parts
from tokenworks.core.errors import DataError
from tokenworks.core.stage import Progress, silent

DocumentBits = tuple[str, float, int]  # (document path, bits, bytes)
TRAIN_BYTES = 64 << 20  # what the n-gram tables and zstd's window may take from the training text
ORDERS = (6, 9, 12)  # context and next byte together
_SEPARATOR = 256
_BASE = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def zstd_bits(
    train: Path, held_out: Path, *, max_bytes: int = 1 << 21, progress: Progress = silent
) -> list[DocumentBits]:
    """Return each held-out document's size in bits under `zstd -19` with the whole training text as its dictionary.

    Raw-content dictionary, 128 MiB window: a document may copy any stretch of the training text (its last 64 MiB where
    it is longer), as a compressor is used when the receiver has the corpus already. Each document stands alone.
    """
    text = b"\n".join(_texts(train))[-TRAIN_BYTES:]
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, window_log=27, write_content_size=False, write_checksum=False, write_dict_id=False
    )
    known = zstandard.ZstdCompressionDict(text.rjust(8), dict_type=zstandard.DICT_TYPE_RAWCONTENT)  # 8 bytes at least
    known.precompute_compress(compression_params=parameters)
    compressor = zstandard.ZstdCompressor(dict_data=known, compression_params=parameters)
    found: list[DocumentBits] = []
    for path, data in _held_out(held_out, max_bytes):
        found.append((path, 8.0 * len(compressor.compress(data)), len(data)))
        progress(len(found), None, unit="documents", note="zstd -19")
    return found


@dataclass(frozen=True)
class NgramScore:
    """The best n-gram model and what each order came to."""

    order: int
    documents: list[DocumentBits]
    bits_per_byte: dict[int, float]  # of every order tried


def ngram_bits(
    train: Path,
    held_out: Path,
    *,
    orders: Sequence[int] = ORDERS,
    max_bytes: int = 1 << 21,
    progress: Progress = silent,
) -> list[DocumentBits]:
    """Return each held-out document's bits under the best order of `ngram_score`."""
    return ngram_score(train, held_out, orders=orders, max_bytes=max_bytes, progress=progress).documents


def ngram_score(
    train: Path,
    held_out: Path,
    *,
    orders: Sequence[int] = ORDERS,
    max_bytes: int = 1 << 21,
    progress: Progress = silent,
) -> NgramScore:
    """Score held-out documents with interpolated modified Kneser-Ney byte n-grams (Chen & Goodman 1999, section 3).

    Trained on the same training text as the model beside it. The order that does best on these very held-out bytes is
    kept, which favours the baseline. Each document is predicted from its own prefix only. Raises `DataError` when
    either folder holds no text.
    """
    documents = list(_held_out(held_out, max_bytes))
    seen = _joined(_capped(_texts(train), TRAIN_BYTES))
    if len(seen) < 2 or not documents:
        raise DataError(f"{train if documents else held_out}: no text to score; the split left this side empty")
    asked = _joined(data for _, data in documents)
    every: dict[int, Floats] = {}
    for number, order in enumerate(orders):
        every[order] = _bits(seen, asked, order)
        progress(
            number + 1, len(orders), unit="orders", note=f"{order}-gram: {_mean(every[order], asked):.3f} bits/byte"
        )
    best = min(every, key=lambda order: float(every[order].sum()))
    return NgramScore(best, _per_document(every[best], documents), {n: _mean(every[n], asked) for n in every})


def _bits(seen: NDArray[np.uint16], asked: NDArray[np.uint16], order: int) -> Floats:
    """Return the bits of every position of `asked` (0 at separators) under an `order`-gram model of `seen`.

    Lower orders count distinct left neighbours instead of occurrences, except where a document begins.
    """
    probability = np.full(len(asked), 1 / 256)
    levels: list[_Level] = []
    starts = _starts(seen, order)
    for length in range(order, 0, -1):
        level, first = _level(seen, starts, length)
        levels.append(level)
        opening = _starts(seen, length - 1)
        starts = np.concatenate([first + 1, opening[seen[opening] == _SEPARATOR]])
    for level in (level for level in reversed(levels) if len(level.grams)):
        start = _starts(asked, level.length)
        probability[start + level.length - 1] = level.interpolate(asked, start, probability[start + level.length - 1])
    bits: Floats = -np.log2(probability)
    bits[asked == _SEPARATOR] = 0.0
    return bits


@dataclass(frozen=True)
class _Level:
    """The counts of one n-gram length, looked up by hash."""

    length: int
    grams: Hashes
    kept: Floats  # count less its discount
    contexts: Hashes
    total: Floats  # of a context
    freed: Floats  # discounts of a context, shared out by the shorter model

    def interpolate(self, text: NDArray[np.uint16], start: Counts, shorter: Floats) -> Floats:
        """Return P(last | context) of the n-grams of `text` at `start`, given the shorter model's probabilities."""
        context = _find(self.contexts, _hash(text, start, self.length - 1))
        gram = _find(self.grams, _hash(text, start, self.length))
        known = context >= 0
        kept = np.where(gram >= 0, self.kept[gram], 0.0)
        mixed: Floats = np.where(known, (kept + self.freed[context] * shorter) / self.total[context], shorter)
        return mixed


def _level(text: NDArray[np.uint16], starts: Counts, length: int) -> tuple[_Level, Counts]:
    """Count the n-grams at `starts`; return them, and where each distinct one first stands."""
    grams, first, counts = np.unique(_hash(text, starts, length), return_index=True, return_counts=True)
    position = starts[first]
    contexts, owner = np.unique(_hash(text, position, length - 1), return_inverse=True)
    discount = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(owner, weights=counts, minlength=len(contexts)).astype(np.float64)
    freed = np.bincount(owner, weights=discount, minlength=len(contexts)).astype(np.float64)
    return _Level(length, grams, counts - discount, contexts, total, freed), position


def _discounts(counts: Counts) -> Floats:
    """Return the discounts of counts 0, 1, 2 and 3 or more (Chen & Goodman 1999, eq. 17)."""
    n1, n2, n3, n4 = (int((counts == value).sum()) for value in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array([0.0, 0.5, 0.5, 0.5])  # too little text to estimate them
    y = n1 / (n1 + 2 * n2)
    raw = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    clipped: Floats = np.clip(raw, 0.0, np.array([0.0, 0.95, 1.9, 2.9]))
    return clipped


def _starts(text: NDArray[np.uint16], length: int) -> Counts:
    """Return where n-grams of `length` lie within one document; only the first symbol may be the separator."""
    if length < 1 or len(text) < length:
        return np.zeros(0, dtype=np.int64)
    since = np.arange(len(text)) - np.maximum.accumulate(np.where(text == _SEPARATOR, np.arange(len(text)), -1))
    ends = np.flatnonzero((since >= length - 1) & (since > 0))
    result: Counts = ends - (length - 1)
    return result


def _hash(text: NDArray[np.uint16], starts: Counts, length: int) -> Hashes:
    """Return a polynomial hash modulo 2**64 of the `length` symbols at each start.

    Two of n different n-grams meet with a probability of about n**2 / 2**65: not in practice.
    """
    value = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(length):
        value = value * _BASE + (text[starts + offset].astype(np.uint64) + np.uint64(1))
    return value


def _find(table: Hashes, keys: Hashes) -> Counts:
    """Return the index of each key in the sorted table, -1 where it is missing."""
    index = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    found: Counts = np.where(table[index] == keys, index, -1)
    return found


def _joined(texts: Iterable[bytes]) -> NDArray[np.uint16]:
    """Return the documents as one array, each after a separator."""
    parts: list[NDArray[np.uint16]] = []
    for data in texts:
        parts.append(np.array([_SEPARATOR], dtype=np.uint16))
        parts.append(np.frombuffer(data, dtype=np.uint8).astype(np.uint16))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16)


def _per_document(bits: Floats, documents: list[tuple[str, bytes]]) -> list[DocumentBits]:
    ends = np.cumsum([len(data) + 1 for _, data in documents])
    sums = np.diff(np.concatenate([[0.0], np.cumsum(bits)[ends - 1]]))
    return [(path, float(value), len(data)) for (path, data), value in zip(documents, sums, strict=True)]


def _mean(bits: Floats, asked: NDArray[np.uint16]) -> float:
    return float(bits.sum()) / max(1, int((asked != _SEPARATOR).sum()))


def _texts(folder: Path) -> Iterable[bytes]:
    return (document.text.encode("utf-8", "surrogatepass") for document in read_parts(folder) if document.text)


def _capped(texts: Iterable[bytes], limit: int) -> Iterable[bytes]:
    size = 0
    for data in texts:
        if size >= limit:
            return
        size += len(data)
        yield data


def _held_out(folder: Path, max_bytes: int) -> Iterable[tuple[str, bytes]]:
    """Yield (path, bytes) of whole documents, in order, until `max_bytes` have been given; at least one."""
    size = 0
    for document in read_parts(folder):
        data = document.text.encode("utf-8", "surrogatepass")
        if not data:
            continue
        if size and size + len(data) > max_bytes:
            continue
        size += len(data)
        yield document.path, data
