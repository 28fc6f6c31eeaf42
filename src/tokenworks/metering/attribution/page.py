"""A mapped file that one engine and the meter of its machine share: what it worked there, and what a second costs.

Neither waits for the other. Each half has one writer and a number that is odd while it is written (a seqlock), so that
a reader who comes in between looks again. The file is locked as long as its engine lives.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from tokenworks.metering.attribution.mapped import Mapped, create

SUFFIX = ".engine"
SIZE = 256
_WORKED = struct.Struct("<Qddddddd")
_TOLD = struct.Struct("<Qddddd16s")
_NUMBER = struct.Struct("<Q")
_BEGAN = struct.Struct("<d")
_BEGAN_AT = 24  # of `began_s` in the first half
_TOLD_AT = 128
_TRIES = 1000


class Worked(NamedTuple):
    """What an engine says. All but `began_s` and `untold_j` only grow."""

    pid: float = 0.0
    busy_s: float = 0.0  # in steps that have ended
    began_s: float = 0.0  # when the step began that is under way, monotonic; 0: none is
    given_j: float = 0.0  # joules that requests were given
    untold_j: float = 0.0  # of those, to requests that could not be told
    lapsed_s: float = 0.0  # of requests that ended while nobody knew what a second costs
    done_s: float = 0.0  # of `busy_s`, what is not waiting for its joules any more


class Told(NamedTuple):
    """What the meter says."""

    number: int = 0  # of the span; 0: nothing was metered yet
    settled_w: float = 0.0  # joules for a second of engine time, in the last span; NaN: it was a gap
    ahead_w: float = 0.0  # the same for the span that is under way, as far as can be said
    error: float = 0.0  # standard uncertainty of the meter, as a share
    spread: float = 0.0  # how far `ahead_w` usually is from the truth, as a share
    until_s: float = 0.0  # monotonic: later, nobody knows
    grade: str = ""


class Page(Mapped):
    """One of those files, open."""

    def __init__(self, path: Path, file: int) -> None:
        super().__init__(path, file, SIZE)
        self._worked_number = _NUMBER.unpack_from(self._map, 0)[0]
        self._told_number = _NUMBER.unpack_from(self._map, _TOLD_AT)[0]

    # -- the engine's half

    def work(self, worked: Worked) -> None:
        """Say what was worked."""
        number = self._worked_number + 1
        _NUMBER.pack_into(self._map, 0, number)
        self._worked_number = number + 1
        _WORKED.pack_into(self._map, 0, number, *worked)
        _NUMBER.pack_into(self._map, 0, self._worked_number)

    def begin(self, began_s: float) -> None:
        """Say that a step is under way: eight aligned bytes, which no reader sees half written."""
        _BEGAN.pack_into(self._map, _BEGAN_AT, began_s)

    def worked(self) -> Worked:
        """Return what the engine says."""
        for _ in range(_TRIES):
            number, *figures = _WORKED.unpack_from(self._map, 0)
            if not number % 2 and _NUMBER.unpack_from(self._map, 0)[0] == number:
                break
        return Worked(*figures)  # an engine that died while writing has left what it had written

    # -- the meter's half

    def tell(self, told: Told) -> None:
        """Say what was metered."""
        number = self._told_number + 1
        _NUMBER.pack_into(self._map, _TOLD_AT, number)
        self._told_number = number + 1
        _TOLD.pack_into(
            self._map, _TOLD_AT, number,
            told.settled_w, told.ahead_w, told.error, told.spread, told.until_s, told.grade.encode()[:16],
        )  # fmt: skip
        _NUMBER.pack_into(self._map, _TOLD_AT, self._told_number)

    @property
    def number(self) -> int:
        """The number of what the meter says: another one as soon as it says something else."""
        found: int = _NUMBER.unpack_from(self._map, _TOLD_AT)[0]
        return found

    def told(self) -> Told:
        """Return what the meter says."""
        for _ in range(_TRIES):
            number, settled_w, ahead_w, error, spread, until_s, grade = _TOLD.unpack_from(self._map, _TOLD_AT)
            if not number % 2 and self.number == number:
                break
        return Told(number, settled_w, ahead_w, error, spread, until_s, grade.rstrip(b"\0").decode())


def new_page(folder: Path) -> Page:
    """Return the page of this process."""
    page = Page(*create(folder, "engine", SUFFIX, SIZE))
    page.work(Worked(pid=float(os.getpid())))
    return page


def open_page(path: Path) -> Page:
    """Return the page of another process."""
    return Page(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
