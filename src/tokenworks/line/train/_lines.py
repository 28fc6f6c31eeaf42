"""Lines of JSONL, each read by itself: whatever is wrong with them is told at once, the first lines by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tokenworks.core.errors import DataError

T = TypeVar("T")
TOLD = 5  # lines


def read_lines(data: bytes, read: Callable[[bytes], T], *, what: str, shape: str) -> list[T]:
    """Return what `read` makes of each line that is not empty; raise `DataError` where it did, or there is none.

    `what` is how messages call the lines, `shape` how one looks.
    """
    found, wrong = list[T](), list[str]()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(read(line))
        except DataError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f"\n... and {len(wrong) - TOLD} more lines" if len(wrong) > TOLD else ""
        raise DataError(f"{what}: {len(wrong)} lines cannot be used\n" + "\n".join(wrong[:TOLD]) + more)
    if not found:
        raise DataError(f"{what}: there are none; write one JSON object on each line: {shape}")
    return found
