"""A label whose texts are given to another: most of what looks like the one is corrected to the other.

Between two labels that are hard to tell apart no single correction is surprising, so only their number gives it away.
A change of mind of the owner looks the same: then the examples are to be changed, or a person releases the rows.
"""

from __future__ import annotations

import numpy as np

from tokenworks.flywheel.select.evidence import ALPHA, Campaign, Evidence, by_principal
from tokenworks.flywheel.select.exact import binomial_tail
from tokenworks.flywheel.select.reference import Numbers

LEAST = 5  # rows that went over
PRIOR = 3  # rows counted as if they had stayed: without them a label that nobody asks for would fall at once
EVEN = 0.5  # the share that goes over where the two cannot be told apart at all


def takeovers(evidence: Evidence, looks: Numbers) -> list[tuple[list[int], Campaign]]:
    """Return for each label that is taken over the rows that went, and to which label.

    `looks` is the label that the owner's examples give each row. Of the rows that look like S, those corrected to T are
    counted against those left S: exact binomial test of more than half, adjusted for the number of labels (Bonferroni).
    """
    classes, given = len(evidence.classes), evidence.given.targets
    flows, counts = np.unique(looks * classes + given, return_counts=True)
    count = dict(zip(flows.tolist(), counts.tolist(), strict=True))
    found: list[tuple[list[int], Campaign]] = []
    for flow, went in sorted(count.items()):
        source, target = divmod(flow, classes)
        stayed = count.get(source * classes + source, 0)
        if source == target or went < max(LEAST, stayed + PRIOR + 1):
            continue
        p = min(1.0, classes * binomial_tail(went, went + stayed + PRIOR, EVEN))
        if p < ALPHA:
            rows = np.flatnonzero((looks == source) & (given == target)).tolist()
            found.append((rows, _campaign(evidence, source, target, rows, stayed, p)))
    return found


def _campaign(evidence: Evidence, source: int, target: int, rows: list[int], stayed: int, p: float) -> Campaign:
    return Campaign(
        label=evidence.classes[target],
        instead_of=evidence.classes[source],
        rows=len(rows),
        doubtful=len(rows),
        expected=1 + EVEN * stayed,
        p_value=p,
        principals=len(by_principal(evidence.principals, rows)),
    )
