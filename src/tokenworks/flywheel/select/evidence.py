"""What the guards look at, and what they say: verdicts on rows, and the names of those behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from tokenworks.flywheel.select.reference import Judged, Labelled, Numbers

DOUBTFUL = 0.05  # conformal p-value below which a label is doubted: one trusted example in twenty fits no better
ALPHA = 0.001  # of the tests that accuse somebody, after adjusting for their number


@dataclass(frozen=True)
class Evidence:
    """New labelled rows, in order, and the trusted examples beside them."""

    texts: Sequence[str]
    given: Labelled
    principals: Sequence[str]
    trusted: Labelled
    trusted_texts: Sequence[str]
    classes: Sequence[str]


@dataclass
class Verdicts:
    """Which rows are held back, and why. The first reason stays."""

    reasons: dict[int, str] = field(default_factory=dict)

    def hold(self, rows: Iterable[int], reason: str) -> list[int]:
        """Hold back `rows`; return those that were not held before."""
        new = [int(row) for row in rows if int(row) not in self.reasons]
        self.reasons.update(dict.fromkeys(new, reason))
        return new

    def free(self, rows: int) -> Numbers:
        """Return the numbers of the rows, of so many, that nothing speaks against."""
        return np.array([row for row in range(rows) if row not in self.reasons], np.int64)


class Culprit(msgspec.Struct, frozen=True, kw_only=True):
    """A principal whose feedback looks like an attack, or like a very bad day."""

    principal: str
    rows: int  # given by it, of those looked at
    doubtful: int
    p_value: float  # of the test that named it
    reason: str  # outlier | campaign | trigger | flood


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A label towards which far more doubtful corrections go than towards others, or that takes another's texts."""

    label: str
    instead_of: str = ""  # the label that the owner's examples would give to most of these rows
    rows: int
    doubtful: int
    expected: float  # doubtful ones, at the rate of the other labels
    p_value: float
    principals: int


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """Words that come with one label and that no trusted example explains."""

    phrase: str
    label: str
    rows: int
    doubtful: int
    principals: int
    p_value: float


@dataclass
class Findings:
    """Everything that the guards found."""

    verdicts: Verdicts = field(default_factory=Verdicts)
    culprits: list[Culprit] = field(default_factory=list)
    campaigns: list[Campaign] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def doubted(judged: Judged) -> set[int]:
    """Return the rows whose label hardly any trusted example would fit so badly."""
    return {int(row) for row in np.flatnonzero(judged.p < DOUBTFUL)}


def by_principal(principals: Sequence[str], rows: Iterable[int]) -> Counter[str]:
    """Return how many of `rows` each principal gave."""
    return Counter(principals[row] for row in rows)
