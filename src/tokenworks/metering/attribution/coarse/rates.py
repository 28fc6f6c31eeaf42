"""A mapped file in which the meter tells every gateway process what a server's time and tokens cost at present.

One writer and a number that is odd while it writes (a seqlock), as the pages of our own engines have it.
"""

from __future__ import annotations

import bisect
import mmap
import os
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tokenworks.metering.attribution.coarse.moments import Moments

FILE = "rates"
PAST = 512  # moments that are remembered
MOST = 64  # of one interval
_FORM = struct.Struct("<Qdddddddddd24s")
_PAST = struct.Struct("<" + PAST * 3 * "d")
_PAST_AT = 256
_NUMBER = struct.Struct("<Q")
_SIZE = _PAST_AT + _PAST.size
_TRIES = 1000


class Floors(NamedTuple):
    """What every request under way has carried since the meter began, up to a moment."""

    at_s: float
    floor_s: float
    floor_j: float


class Rates(NamedTuple):
    """What the meter says as of `at_s`. A request's floor is what `floor_s` and `floor_j` grew by while it ran."""

    number: int = 0  # of the interval; 0: nothing was metered yet
    at_s: float = 0.0  # monotonic
    floor_s: float = 0.0  # engine seconds that every request under way has carried since the meter began
    floor_j: float = 0.0  # and joules
    ahead: float = 0.0  # how fast `floor_s` grows now: a share of an engine second, each second
    watts: float = 0.0  # joules for a second of engine time, as foreseen
    prompt_s: float = 0.0  # engine seconds of one token of a prompt that no cache had
    generated_s: float = 0.0  # and of one that is written
    computed: float = 1.0  # of prompts' tokens, how many no cache had of late
    error: float = 0.0  # standard uncertainty of the meter and of what is foreseen, as a share
    until_s: float = 0.0  # monotonic: later, nobody knows
    grade: str = ""
    past: tuple[Floors, ...] = ()  # at former moments, the oldest first; between two of them it grew evenly

    def floors(self, at_s: float) -> tuple[float, float]:
        """Return `floor_s` and `floor_j` at a moment, as foreseen where it lies ahead."""
        if at_s < self.at_s and self.past:
            return self._before(at_s)
        more_s = self.ahead * (at_s - self.at_s)
        return self.floor_s + more_s, self.floor_j + more_s * self.watts

    def _before(self, at_s: float) -> tuple[float, float]:
        number = bisect.bisect_right(self.past, at_s, key=lambda one: one.at_s)
        if not number:
            return self.past[0].floor_s, self.past[0].floor_j
        before, after = self.past[number - 1], self.past[min(number, len(self.past) - 1)]
        seconds = after.at_s - before.at_s
        part = (at_s - before.at_s) / seconds if seconds > 0 else 0.0
        return (
            before.floor_s + part * (after.floor_s - before.floor_s),
            before.floor_j + part * (after.floor_j - before.floor_j),
        )


class RatesFile:
    """That file, open: by the meter to `tell`, by a gateway to be `told`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._file, 0, _SIZE)
        self._map = mmap.mmap(self._file, _SIZE)
        self._number: int = _NUMBER.unpack_from(self._map, 0)[0]
        self._known = Rates()
        self._past: deque[Floors] = deque(maxlen=PAST)

    def tell(self, rates: Rates, moments: Moments | None = None) -> None:
        """Say it; `moments` are those of the interval that has ended. `past` is kept here."""
        number = (self._number | 1) + (0 if not self._number % 2 else 2)  # a meter that died while writing left it odd
        *figures, grade, _ = rates[1:]
        if not self._past or rates.at_s > self._past[-1].at_s:
            self._past.extend(self._between(rates, moments))
        past = [value for one in self._past for value in one]
        _NUMBER.pack_into(self._map, 0, number)
        _PAST.pack_into(self._map, _PAST_AT, *past, *[0.0] * (3 * PAST - len(past)))
        _FORM.pack_into(self._map, 0, number, *figures, grade.encode()[:24])
        self._number = number + 1
        _NUMBER.pack_into(self._map, 0, self._number)

    def _between(self, rates: Rates, moments: Moments | None) -> Iterator[Floors]:
        """Yield how the floor grew in the interval that has ended, and what it came to."""
        if moments is not None and self._past and moments.share_s[-1] > 0:
            before = self._past[-1]
            more_s, more_j = rates.floor_s - before.floor_s, rates.floor_j - before.floor_j
            for number in range(1, len(moments.at_s) - 1, len(moments.at_s) // MOST + 1):
                part = moments.share_s[number] / moments.share_s[-1]
                yield Floors(moments.at_s[number], before.floor_s + part * more_s, before.floor_j + part * more_j)
        yield Floors(rates.at_s, rates.floor_s, rates.floor_j)

    def told(self) -> Rates:
        """Return what was said last."""
        if _NUMBER.unpack_from(self._map, 0)[0] == self._known.number:
            return self._known
        for _ in range(_TRIES):
            number, *figures, grade = _FORM.unpack_from(self._map, 0)
            past = _PAST.unpack_from(self._map, _PAST_AT)
            if not number % 2 and _NUMBER.unpack_from(self._map, 0)[0] == number:
                self._known = Rates._make((number, *figures, grade.rstrip(b"\0").decode(), _floors(past)))
                break
        return self._known

    def close(self) -> None:
        """Let go of it."""
        self._map.close()
        os.close(self._file)


def _floors(past: tuple[float, ...]) -> tuple[Floors, ...]:
    rows = zip(past[::3], past[1::3], past[2::3], strict=True)
    return tuple(Floors(*row) for row in rows if row[0] > 0)
