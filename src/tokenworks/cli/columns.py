"""Tables as wide as what is in them. Knows nothing of what they show."""

from __future__ import annotations

from collections.abc import Sequence


def listed(head: Sequence[str], rows: Sequence[Sequence[object]], *, none: str) -> str:
    """Return `rows` as a table; without any only `none`, which says what to do about it."""
    return columns(head, rows) if rows else none


def columns(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table: the head, then the rows, every column as wide as it must be, numbers to the right."""
    cells = [tuple(head), *[tuple(printable(value) for value in row) for row in rows]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    numbers = [all(isinstance(row[place], int | float) for row in rows) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    )


def printable(value: object) -> str:
    """Return `value` as a terminal may show it: what callers named may hold escape sequences."""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3f}"
    return "" if value is None else "".join(one if one.isprintable() else "\ufffd" for one in str(value))
