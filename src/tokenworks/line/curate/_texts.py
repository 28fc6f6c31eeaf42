"""When two texts of examples count as the same, nearly the same, or belong to the held-out part."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

import rensa

_MARKS = str.maketrans(dict.fromkeys(".,;:!?\"'`´‘’“”„«»¿¡…()[]{}", " "))
_PERMUTATIONS, _BANDS, _GRAM = 128, 16, 4  # 16 bands of 8: a pair at 0.9 is found with 0.9999, one at 0.5 with 0.06
_FULL = 1 << 64


def normalise(text: str) -> str:
    """Return `text` without the differences that people do not mean: case, width, spacing, sentence marks."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(plain.translate(_MARKS).split()) or " ".join(plain.split())


def key_of(text: str) -> int:
    """Return 64 bits that name the normalised `text`."""
    return int.from_bytes(hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).digest()[:8])


def share_of(unit: int, *, seed: int, purpose: str) -> float:
    """Return a number in [0, 1) that depends on nothing else: the same today, tomorrow and among other texts."""
    data = unit.to_bytes(8) + seed.to_bytes(8, signed=True) + purpose.encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8]) / _FULL


class NearIndex:
    """Texts that must not be learnt, found again by MinHash over character 4-grams, with the answer they carry."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._index = rensa.RMinHashLSH(threshold, _PERMUTATIONS, _BANDS)
        self._hashes: list[rensa.RMinHash] = []
        self._answers: list[str] = []

    def add(self, text: str, answer: str) -> None:
        """Remember `text`."""
        minhash = _minhash(text)
        self._index.insert(len(self._hashes), minhash)
        self._hashes.append(minhash)
        self._answers.append(answer)

    def holds(self, text: str, answer: str | None) -> bool:
        """Return whether a text like `text` is in it; with `answer`, only those that carry the same one."""
        minhash = _minhash(text)
        return any(
            (answer is None or self._answers[each] == answer) and minhash.jaccard(self._hashes[each]) >= self._threshold
            for each in self._index.query(minhash)
        )


def _minhash(text: str) -> rensa.RMinHash:
    padded = f" {normalise(text)} "
    minhash = rensa.RMinHash(_PERMUTATIONS, 0)
    minhash.update([padded[at : at + _GRAM] for at in range(max(1, len(padded) - _GRAM + 1))])
    return minhash


@dataclass
class HeldOut:
    """Choose the held-out units of each class by hash, so that growth never moves one from gold to train.

    A unit is a text, or the group it belongs to. Its own hash decides; two rules mend small classes: where none of
    the first `ceil(2 / share)` units of a class falls to gold, the lowest of those does; and a class whose units
    all fall to gold keeps the highest for training. Under appended rows a unit may go from train to gold, never back.
    """

    share: float
    seed: int
    _classes: dict[str, _Class] = field(default_factory=dict)

    def add(self, unit: int, answer: str) -> None:
        """Tell of a unit of class `answer`, in the order of the file."""
        found = self._classes.setdefault(answer, _Class())
        found.add(share_of(unit, seed=self.seed, purpose="gold"), unit, share=self.share)

    def units(self) -> frozenset[int]:
        """Return the held-out units."""
        return frozenset(unit for each in self._classes.values() for unit in each.gold(self.share))


@dataclass
class _Class:
    count: int = 0
    chosen: dict[int, float] = field(default_factory=dict)
    early: dict[int, float] = field(default_factory=dict)

    def add(self, value: float, unit: int, *, share: float) -> None:
        if unit in self.chosen or unit in self.early:
            return
        self.count += 1
        if self.count <= math.ceil(2 / share):
            self.early[unit] = value
        if value < share:
            self.chosen[unit] = value

    def gold(self, share: float) -> Iterator[int]:
        if self.count < 2:
            return
        enough = len(self.early) == math.ceil(2 / share)
        if enough and not any(value < share for value in self.early.values()):
            yield min(self.early, key=lambda unit: self.early[unit])
        spared = max(self.chosen, key=lambda unit: self.chosen[unit]) if len(self.chosen) == self.count else None
        yield from (unit for unit in self.chosen if unit != spared)
