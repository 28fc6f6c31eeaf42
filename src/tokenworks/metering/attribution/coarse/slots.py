"""A mapped file that a gateway process and the meter share: which requests it has at a server, and what they came to.

Each request has a slot. Its process writes it until it has ended, then the meter reads it and makes it free: at any
moment one of them may write, and nobody waits. The file is locked as long as its process lives.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tokenworks.metering.attribution.mapped import Mapped, create

SUFFIX = ".asking"
SLOTS = 2048
FREE, RUNNING, ENDED = 0, 1, 2
_STATE = struct.Struct("<Q")
_SLOT = struct.Struct("<Qdddddddd")  # state, then `Taken`
_HEAD = struct.Struct("<Qd")
_HEAD_SIZE = 64
_SLOT_SIZE = 128
_SIZE = _HEAD_SIZE + SLOTS * _SLOT_SIZE


class Taken(NamedTuple):
    """One request, by the gateway: seconds on the monotonic clock, and tokens."""

    began_s: float
    first_s: float = 0.0  # its first token came; 0: nobody saw, it came whole
    ended_s: float = 0.0  # 0: it is under way
    prompt: float = 0.0
    cached: float = 0.0
    generated: float = 0.0
    given_j: float = -1.0  # joules on its entry; below 0: it has none
    known: float = 0.0  # 1: the server has said its tokens; 0: as far as they were seen


class Slots(Mapped):
    """One of those files, open."""

    def __init__(self, path: Path, file: int) -> None:
        super().__init__(path, file, _SIZE)
        self._next = 0

    # -- the gateway's side

    def take(self, taken: Taken) -> int:
        """Return the slot of a request that begins; -1 where there is none left."""
        if self._map.closed:
            return -1
        for _ in range(SLOTS):
            at, self._next = self._next, (self._next + 1) % SLOTS
            if _STATE.unpack_from(self._map, _place(at))[0] == FREE:
                self.put(at, RUNNING, taken)
                return at
        _, missed = _HEAD.unpack_from(self._map, 0)
        _HEAD.pack_into(self._map, 0, os.getpid(), missed + 1)
        return -1

    def put(self, at: int, state: int, taken: Taken) -> None:
        """Write a slot, its state last; once the file is closed the meter takes all for ended."""
        if self._map.closed:
            return
        before = _STATE.unpack_from(self._map, _place(at))[0]
        _SLOT.pack_into(self._map, _place(at), before, *taken)
        _STATE.pack_into(self._map, _place(at), state)

    # -- the meter's side

    @property
    def missed(self) -> float:
        """How many requests had no slot."""
        return float(_HEAD.unpack_from(self._map, 0)[1])

    def running(self) -> Iterator[Taken]:
        """Yield what is under way."""
        yield from (taken for _, state, taken in self._all() if state == RUNNING)

    def collect(self) -> Iterator[Taken]:
        """Yield what has ended since the last time."""
        for at, state, taken in self._all():
            if state == ENDED:
                _STATE.pack_into(self._map, _place(at), FREE)
                yield taken

    def _all(self) -> Iterator[tuple[int, int, Taken]]:
        for at in range(SLOTS):
            if _STATE.unpack_from(self._map, _place(at))[0] != FREE:
                state, *figures = _SLOT.unpack_from(self._map, _place(at))
                yield at, state, Taken(*figures)


def new_slots(folder: Path) -> Slots:
    """Return the file of this process."""
    return Slots(*create(folder, "asking", SUFFIX, _SIZE))


def open_slots(path: Path) -> Slots:
    """Return the file of another process."""
    return Slots(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))


def _place(at: int) -> int:
    return _HEAD_SIZE + at * _SLOT_SIZE
