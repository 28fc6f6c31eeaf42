"""Sums that cost a fraction of a microsecond to keep; turned into Prometheus' families only when somebody looks.

Only the event loop writes them: a lock for each addition, as the client library's own metrics have, is not needed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]


class Distribution:
    """Observations by bucket."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Take in one."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts as Prometheus wants them."""
        reached, made = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self.counts, strict=True):
            reached += count
            made.append((bound, float(reached)))
        return made


def counter(name: str, says: str, labels: Sequence[str], sums: Iterable[tuple[Labels, float]]) -> Metric:
    """Return a family of counters."""
    family = CounterMetricFamily(name, says, labels=labels)
    for values, amount in sums:
        family.add_metric(values, amount)
    return family


def histogram(name: str, says: str, labels: Sequence[str], rows: Iterable[tuple[Labels, Distribution]]) -> Metric:
    """Return a family of histograms."""
    family = HistogramMetricFamily(name, says, labels=labels)
    for values, one in rows:
        family.add_metric(values, one.buckets(), one.total)
    return family
