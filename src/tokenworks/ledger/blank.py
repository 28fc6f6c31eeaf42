"""Overwrite texts where they lie. Beside a writer that goes on appending and readers that go on reading.

First the heads say "erased", and only when the disk has that do zeros take the texts' places: whatever ends the process
in between, a text is either still whole or known to be erased, and doing it again finishes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tokenworks.ledger.shelf import ERASED, HEAD, Found, erased, read_at

_ZEROS = bytes(1 << 20)


class Blanked(NamedTuple):
    """What became of one file."""

    texts: int  # that were still there
    keys: set[bytes]  # those of the keys that have an erased text in it now
    stop: int  # where the file ends, or where damage hides what follows


def blank(path: Path, keys: set[bytes]) -> Blanked:
    """Erase every text stored under one of `keys` in the file at `path`.

    Every copy goes, also those that a later text under the same key replaced.
    """
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # not O_APPEND: Linux would append whatever the offset says
    try:
        before = os.fstat(file)
        places, stop = list[tuple[int, Found]](), 0
        for offset, found in _texts(file):
            stop = found.end
            if found.key in keys:
                places.append((offset, found))
        _overwrite(file, places)
        if places:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # by which its age is known
        fresh = sum(found.form != ERASED for _, found in places)
        return Blanked(fresh, {found.key for _, found in places}, stop)
    finally:
        os.close(file)


def _overwrite(file: int, places: list[tuple[int, Found]]) -> None:
    for offset, found in places:
        os.pwrite(file, erased(found.key, _text_bytes(offset, found))[: HEAD.size], offset)
    os.fdatasync(file)
    for offset, found in places:  # those known to be erased too: a kill may have kept the zeros from them
        _zero(file, offset + HEAD.size + len(found.key), found.end)
    os.fdatasync(file)


def _texts(file: int) -> Iterator[tuple[int, Found]]:
    offset = 0
    while (found := read_at(file, offset)) is not None:
        yield offset, found
        offset = found.end


def _text_bytes(offset: int, found: Found) -> int:
    return found.end - offset - HEAD.size - len(found.key)


def _zero(file: int, start: int, end: int) -> None:
    while start < end:
        start += os.pwrite(file, _ZEROS[: end - start], start)
