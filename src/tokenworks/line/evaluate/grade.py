"""What a grader says of one answer, and how a metric finds its grader: by file name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec

from tokenworks import parts
from tokenworks.line.evaluate.paired import Paired
from tokenworks.line.evaluate.report import Figure, Item

ROOM = "tokenworks.line.evaluate.graders"


class Grade(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, judged."""

    score: float
    group: str = ""
    predicted: str = ""
    parts: dict[str, float] = {}


class Metric(Protocol):
    """What every file in `graders/` offers."""

    BETTER: str  # 'higher' or 'lower'

    def figure(self, items: Sequence[Item]) -> Figure:
        """Return the metric over `items` with its 95 % interval."""
        ...

    def compare(self, candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
        """Compare two models on the same items in the same order; positive: the candidate is better."""
        ...


class Grader(Metric, Protocol):
    """A metric that judges answers one by one."""

    def grade(self, row: Mapping[str, Any], answered: Any) -> Grade:
        """Judge what was `answered` to the gold `row`."""
        ...


def metric_named(metric: str) -> Metric:
    """Return the metric `metric`, such as 'recall@10'; raise `ConfigError` naming those that exist."""
    return cast(Metric, parts.load(ROOM, metric.replace("@", "_at_")))


def grader_named(metric: str) -> Grader:
    """Return the metric `metric` as one that judges single answers."""
    return cast(Grader, parts.load(ROOM, metric.replace("@", "_at_")))
