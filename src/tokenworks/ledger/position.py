"""Where an entry stands."""

from __future__ import annotations

import msgspec


class Position(msgspec.Struct, frozen=True, gc=False):
    """The place of an entry: number `index`, from 0, of what `writer` wrote."""

    writer: str
    index: int

    def __str__(self) -> str:
        return f"{self.writer}:{self.index}"
