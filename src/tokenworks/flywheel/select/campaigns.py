"""Labels that somebody pushes: far more doubtful corrections go towards them than towards the others."""

from __future__ import annotations

import numpy as np

from tokenworks.flywheel.select.evidence import ALPHA, DOUBTFUL, Campaign, Evidence, by_principal
from tokenworks.flywheel.select.exact import binomial_tail
from tokenworks.flywheel.select.reference import Numbers

LEAST = 4  # doubtful rows; fewer are no campaign
TWICE = 2.0  # the rate of the others: less is a class that is hard


def campaigns(evidence: Evidence, doubtful: set[int]) -> list[tuple[int, Campaign]]:
    """Return the labels with significantly more doubtful rows than honest mistakes explain, worst first.

    Honest mistakes fall on labels at random, however rare the label is: the median over labels, which a campaign
    towards a few of them does not move. On top come the right labels that are doubted, a share of the label's rows.
    """
    targets, marks = evidence.given.targets, np.zeros(len(evidence.given.targets), bool)
    marks[sorted(doubtful)] = True
    classes = len(evidence.classes)
    every, bad = np.bincount(targets, minlength=classes), np.bincount(targets[marks], minlength=classes)
    expected = _usual(bad[every > 0]) + DOUBTFUL * every
    suspects = np.flatnonzero((bad >= LEAST) & (bad >= TWICE * expected))
    found: list[tuple[int, Campaign]] = []
    for at in map(int, suspects):
        p = min(1.0, classes * binomial_tail(int(bad[at]), len(targets), float(expected[at]) / len(targets)))
        if p < ALPHA:
            found.append((at, _campaign(evidence, at, int(every[at]), int(bad[at]), float(expected[at]), p)))
    return sorted(found, key=lambda item: (item[1].p_value, item[1].label))


def _usual(bad: Numbers) -> float:
    """Return the doubtful rows that a label has by honest mistakes: the median, or one where most have none."""
    return max(1.0, float(np.median(bad))) if len(bad) else 1.0


def _campaign(evidence: Evidence, at: int, every: int, bad: int, expected: float, p: float) -> Campaign:
    rows = np.flatnonzero(evidence.given.targets == at)
    return Campaign(
        label=evidence.classes[at],
        rows=every,
        doubtful=bad,
        expected=round(expected, 2),
        p_value=p,
        principals=len(by_principal(evidence.principals, rows)),
    )
