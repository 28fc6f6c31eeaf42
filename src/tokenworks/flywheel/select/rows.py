"""A row on its way into the dataset: what would be learned, from whom, and why it may not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Part = Literal["example", "pair", "click"]


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing to learn."""

    part: Part
    request_id: str
    feedback_id: str
    principal: str
    at: float  # of the feedback
    asked_at: float
    text: str  # what was asked, as one text
    answer: str  # the right label, text or document
    messages: tuple[dict[str, Any], ...] = ()  # chat, extract: what was asked
    tools: tuple[dict[str, Any], ...] = ()
    rejected: str = ""  # pair: the worse answer
    user: str = ""  # who asked
    conversation: str = ""
    label: str = "public"
    informative: float = 0.0
    confirms: bool = False  # the answer given was right
    group: str = ""


@dataclass
class Sieve:
    """Rows that are left, and how many went where. Every step takes rows out with a reason."""

    rows: list[Row]
    set_aside: Counter[str] = field(default_factory=Counter)
    held: list[tuple[Row, str]] = field(default_factory=list)  # in quarantine

    def drop(self, gone: Iterable[int], reason: str) -> None:
        """Leave out the rows at these places."""
        places = set(gone)
        self.set_aside[reason] += len(places)
        self.rows = [row for at, row in enumerate(self.rows) if at not in places]

    def hold(self, reasons: dict[int, str]) -> None:
        """Put the rows at these places in quarantine."""
        self.held += [(self.rows[at], reason) for at, reason in sorted(reasons.items())]
        self.rows = [row for at, row in enumerate(self.rows) if at not in reasons]


def of_part(rows: Sequence[Row], part: Part) -> list[Row]:
    """Return the rows of one part."""
    return [row for row in rows if row.part == part]
