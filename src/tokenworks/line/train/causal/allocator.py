"""Keep the C allocator from giving memory back between steps: page faults were a quarter of a training step."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>
_KEEP = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 256 << 20}
_USUAL = {_MMAP_THRESHOLD: 128 << 10, _TRIM_THRESHOLD: 128 << 10, _TOP_PAD: 128 << 10}


@contextlib.contextmanager
def kept_memory() -> Iterator[bool]:
    """Serve large tensors from the heap and never trim it while inside; yield whether the C library understood.

    glibc maps every large block afresh, and the kernel zeroes its pages again in every step. Costs resident memory up
    to the peak while inside; it is given back on the way out.
    """
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not hasattr(library, "mallopt"):  # not glibc
        yield False
        return
    understood = [library.mallopt(option, value) == 1 for option, value in _KEEP.items()]
    try:
        yield all(understood)
    finally:
        for option, value in _USUAL.items():
            library.mallopt(option, value)
        library.malloc_trim(0)
