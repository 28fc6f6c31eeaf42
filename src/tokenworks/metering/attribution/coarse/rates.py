"""A mapped file in which the meter tells every gateway process what a server's time and tokens cost at present.

One writer and a number that is odd while it writes (a seqlock), as the pages of our own engines have it.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

FILE = "rates"
_FORM = struct.Struct("<Qdddddddddd24s")
_NUMBER = struct.Struct("<Q")
_SIZE = 256
_TRIES = 1000


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

    def floors(self, at_s: float) -> tuple[float, float]:
        """Return `floor_s` and `floor_j` at a moment, as foreseen where it lies ahead."""
        more_s = self.ahead * (at_s - self.at_s)
        return self.floor_s + more_s, self.floor_j + more_s * self.watts


class RatesFile:
    """That file, open: by the meter to `tell`, by a gateway to be `told`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._file, 0, _SIZE)
        self._map = mmap.mmap(self._file, _SIZE)
        self._number: int = _NUMBER.unpack_from(self._map, 0)[0]
        self._known = Rates()

    def tell(self, rates: Rates) -> None:
        """Say it."""
        number = (self._number | 1) + (0 if not self._number % 2 else 2)  # a meter that died while writing left it odd
        *figures, grade = rates[1:]
        _FORM.pack_into(self._map, 0, number, *figures, grade.encode()[:24])
        self._number = number + 1
        _NUMBER.pack_into(self._map, 0, self._number)

    def told(self) -> Rates:
        """Return what was said last."""
        if _NUMBER.unpack_from(self._map, 0)[0] == self._known.number:
            return self._known
        for _ in range(_TRIES):
            number, *figures, grade = _FORM.unpack_from(self._map, 0)
            if not number % 2 and _NUMBER.unpack_from(self._map, 0)[0] == number:
                self._known = Rates._make((number, *figures, grade.rstrip(b"\0").decode()))
                break
        return self._known

    def close(self) -> None:
        """Let go of it."""
        self._map.close()
        os.close(self._file)
