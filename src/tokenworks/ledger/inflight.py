"""Streams under way, in a mapped file: what a process had delivered when it was killed is read there and charged.

The kernel keeps a shared mapping however the process ends (mmap(2)); the loss of power it does not outlive.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from tokenworks.core.errors import StoreError
from tokenworks.core.ids import new_id
from tokenworks.core.usage import Usage
from tokenworks.ledger.entries import RequestEntry

SLOT_BYTES = 1024
SUFFIX = ".inflight"
KILLED = "gateway_killed"
_HEAD = struct.Struct("<BxHIII")  # taken, bytes of the entry, tokens: of the prompt, of it cached, of the answer
_TOKENS = struct.Struct("<III")
_RATES = struct.Struct("<QQQ")  # at the end of a slot; a file of before they were kept has zeros there
_MOST = SLOT_BYTES - _HEAD.size - _RATES.size
Rates = tuple[int, int, int]  # billionths of the currency for a token: of the prompt, of it cached, of the answer
FREE: Rates = (0, 0, 0)
_TOKENS_AT = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RequestEntry).decode


class Slot:
    """One stream. `note` is called before what it counts leaves."""

    __slots__ = ("_inflight", "_number")

    def __init__(self, inflight: Inflight, number: int) -> None:
        self._inflight = inflight
        self._number = number

    def note(self, usage: Usage) -> None:
        """Say how much was delivered so far."""
        self._inflight.write(self._number, usage)

    def end(self) -> None:
        """Forget the stream: its entry is durable."""
        self._inflight.free(self._number)


class Inflight:
    """The streams of one process. Nobody else writes to its file; one thread does."""

    def __init__(self, folder: Path, slots: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = new_id("proc")
        self._path, unready = folder / f"{name}{SUFFIX}", folder / name
        self._file = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # before it has the name by which others look for what was left
        try:
            # Room is taken now: a page that has none when it is written to would end the process (SIGBUS).
            os.posix_fallocate(self._file, 0, slots * SLOT_BYTES)
        except OSError as error:
            unready.unlink()
            os.close(self._file)
            raise StoreError(f"{unready}: {error.strerror}; free {slots * SLOT_BYTES} bytes there") from error
        unready.rename(self._path)
        self._map = mmap.mmap(self._file, slots * SLOT_BYTES)
        self._free = list(range(slots - 1, -1, -1))

    def begin(self, entry: RequestEntry, rates: Rates = FREE) -> Slot | None:
        """Return the place of a stream whose entry would be `entry` now; None where there is no room for it.

        `rates` are what its tokens were promised to cost.
        """
        data = _encode(entry)
        if not self._free or len(data) > _MOST:
            return None
        number = self._free.pop()
        at = number * SLOT_BYTES
        self._map[at + _HEAD.size : at + _HEAD.size + len(data)] = data
        _RATES.pack_into(self._map, at + SLOT_BYTES - _RATES.size, *rates)
        _HEAD.pack_into(self._map, at, 1, len(data), 0, 0, 0)
        return Slot(self, number)

    def write(self, number: int, usage: Usage) -> None:
        """Keep the tokens of the stream in slot `number`."""
        at = number * SLOT_BYTES + _TOKENS_AT
        _TOKENS.pack_into(self._map, at, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)

    def free(self, number: int) -> None:
        """Let the slot be used again."""
        self._map[number * SLOT_BYTES] = 0
        self._free.append(number)

    def close(self) -> None:
        """Let go of the file; what still stands in it is for the next process."""
        if self._map.closed:
            return
        left = any(self._map[at] for at in range(0, len(self._map), SLOT_BYTES))
        self._map.close()
        if not left:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def settle_killed(
    folder: Path,
    known: Callable[[RequestEntry], bool],
    write: Callable[[RequestEntry], object],
    charged: Callable[[RequestEntry, Rates], RequestEntry],
) -> int:
    """Write an entry for each stream that a process left behind; return how many.

    `charged` puts the price on it, from the rates that held when the stream began. `known` says whether the entry
    stands on the ledger already: a process may be killed between its writing and the end of the slot. Killed here,
    doing it again gives the same.
    """
    written = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process lives
            continue
        else:
            for entry, rates in _left(path.read_bytes()):
                if not known(entry):
                    write(charged(entry, rates))
                    written += 1
            path.unlink(missing_ok=True)
        finally:
            os.close(file)
    return written


def _left(data: bytes) -> list[tuple[RequestEntry, Rates]]:
    found = []
    for at in range(0, len(data) - SLOT_BYTES + 1, SLOT_BYTES):
        taken, size, prompt, cached, completion = _HEAD.unpack_from(data, at)
        if taken:
            entry = _decode(data[at + _HEAD.size : at + _HEAD.size + size])
            tokens = {"prompt_tokens": prompt, "cached_tokens": cached, "completion_tokens": completion}
            rates = FREE if size > _MOST else _RATES.unpack_from(data, at + SLOT_BYTES - _RATES.size)
            found.append((msgspec.structs.replace(entry, **tokens), rates))
    return found
